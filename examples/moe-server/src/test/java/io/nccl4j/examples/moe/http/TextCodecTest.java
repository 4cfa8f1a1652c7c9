package io.nccl4j.examples.moe.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.examples.moe.model.ModelException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TextCodecTest {
    /** Byte-level BPE, as Qwen's, with nothing but four tokens. */
    private static final String TOKENIZER = """
            {"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
             "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
             "post_processor": null,
             "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
             "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": ["a b"]}}
            """;

    @TempDir
    private Path folder;

    @Test
    void encodesAndDecodes() throws Exception {
        Files.writeString(folder.resolve("tokenizer.json"), TOKENIZER);
        try (TextCodec codec = TextCodec.find(folder)) {
            assertThat(codec).isNotNull();
            assertThat(codec.encode("ab ba")).containsExactly(2, 3, 1, 0);
            assertThat(codec.decode(new int[]{2, 3, 1, 0, 9}, 4)).isEqualTo("ab ba");
        }
    }

    @Test
    void thereNeedNotBeOne() {
        assertThat(TextCodec.find(folder)).isNull();
    }

    @Test
    void saysWhatIsBroken() throws Exception {
        Files.writeString(folder.resolve("tokenizer.json"), "{");
        assertThatThrownBy(() -> TextCodec.find(folder)).isInstanceOf(ModelException.class)
                .hasMessageContaining("tokenizer.json cannot be read");
    }
}
