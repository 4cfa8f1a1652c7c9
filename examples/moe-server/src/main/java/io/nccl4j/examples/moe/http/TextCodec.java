package io.nccl4j.examples.moe.http;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import io.nccl4j.examples.moe.model.ModelException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Text to tokens and back by a checkpoint's {@code tokenizer.json}. Thread-safe. */
public final class TextCodec implements AutoCloseable {
    private final HuggingFaceTokenizer tokenizer;

    private TextCodec(HuggingFaceTokenizer tokenizer) {
        this.tokenizer = tokenizer;
    }

    /** That of a folder; null if it has none, and clients give and get token ids. */
    public static @Nullable TextCodec find(Path folder) {
        Path file = folder.resolve("tokenizer.json");
        if (!Files.isRegularFile(file)) {
            return null;
        }
        // Nothing is fetched, whatever the library would like to find.
        System.setProperty("ai.djl.offline", "true");
        System.setProperty("OPT_OUT_TRACKING", "true");
        System.setProperty("RUST_FLAVOR", "cpu");
        try {
            return new TextCodec(HuggingFaceTokenizer.newInstance(file,
                    Map.of("addSpecialTokens", "false", "truncation", "false", "padding", "false")));
        } catch (IOException | RuntimeException e) {
            throw new ModelException(file + " cannot be read: " + e.getMessage(), e);
        }
    }

    public int[] encode(String text) {
        long[] ids = tokenizer.encode(text).getIds();
        int[] tokens = new int[ids.length];
        for (int i = 0; i < ids.length; i++) {
            tokens[i] = Math.toIntExact(ids[i]);
        }
        return tokens;
    }

    public String decode(int[] tokens, int count) {
        long[] ids = new long[count];
        for (int i = 0; i < count; i++) {
            ids[i] = tokens[i];
        }
        return tokenizer.decode(ids, true);
    }

    @Override
    public void close() {
        tokenizer.close();
    }
}
