package io.nccl4j.examples.moe.bench;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import com.google.gson.Gson;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.examples.moe.BackendChoice;
import io.nccl4j.examples.moe.ModelOptions;
import io.nccl4j.examples.moe.model.ModelConfig;
import io.nccl4j.examples.moe.step.RankModel;
import io.nccl4j.examples.moe.step.RankOptions;
import io.nccl4j.examples.moe.step.StepBatch;
import io.nccl4j.nccl.Bootstrap;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/**
 * {@code logits}: what another implementation can be compared with. Each prompt goes through one step of its own, whose
 * logits of all positions are written as float32; then all prompts are continued greedily, side by side.
 */
@Command(name = "logits", mixinStandardHelpOptions = true,
        description = "Writes logits and greedy " + "continuations of prompts.")
public final class LogitsCommand implements Callable<Integer> {
    @Mixin
    private ModelOptions model;

    @Option(names = "--prompts", required = true, description = "JSON: an array of arrays of token ids.")
    private Path prompts;

    @Option(names = "--count", defaultValue = "64",
            description = "Tokens of a continuation (default: " + "${DEFAULT-VALUE}).")
    private int count;

    @Option(names = "--out", required = true, description = "Folder for logits.bin and tokens.json.")
    private Path out;

    @Override
    public Integer call() throws IOException {
        RankOptions options = model.rankOptions();
        ModelConfig config = options.config();
        int[][] given = new Gson().fromJson(Files.readString(prompts), int[][].class);
        BackendChoice.use(model.backend());
        Files.createDirectories(out);
        try (Bootstrap bootstrap = Bootstraps.inProcess(1).getFirst();
                RankModel rank = new RankModel(options, bootstrap);
                OutputStream logits = Files.newOutputStream(out.resolve("logits.bin"))) {
            int[][] tokens = new int[given.length][count];
            for (int slot = 0; slot < given.length; slot++) {
                tokens[slot][0] = prefill(rank, given[slot], slot, config, logits);
            }
            for (int step = 1; step < count; step++) {
                StepBatch batch = StepBatch.ofSize(given.length);
                for (int slot = 0; slot < given.length; slot++) {
                    row(batch, slot, tokens[slot][step - 1], slot, given[slot].length + step - 1);
                }
                int[] sampled = rank.run(batch);
                for (int slot = 0; slot < given.length; slot++) {
                    tokens[slot][step] = sampled[slot];
                }
            }
            Files.writeString(out.resolve("tokens.json"), new Gson().toJson(tokens));
        }
        return 0;
    }

    private static int prefill(RankModel rank, int[] prompt, int slot, ModelConfig config, OutputStream logits)
            throws IOException {
        StepBatch batch = StepBatch.ofSize(prompt.length);
        for (int position = 0; position < prompt.length; position++) {
            row(batch, position, prompt[position], slot, position);
        }
        int[] sampled = rank.run(batch);
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment values = arena.allocate(JAVA_FLOAT, (long) prompt.length * config.vocabulary());
            rank.logits().copyTo(values);
            logits.write(values.toArray(JAVA_BYTE));
        }
        return sampled[prompt.length - 1];
    }

    private static void row(StepBatch batch, int row, int token, int slot, int position) {
        batch.tokens()[row] = token;
        batch.slots()[row] = slot;
        batch.positions()[row] = position;
    }
}
