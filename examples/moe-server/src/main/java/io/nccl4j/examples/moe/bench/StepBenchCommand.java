package io.nccl4j.examples.moe.bench;

import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.examples.moe.BackendChoice;
import io.nccl4j.examples.moe.ModelOptions;
import io.nccl4j.examples.moe.model.ModelConfig;
import io.nccl4j.examples.moe.model.ModelException;
import io.nccl4j.examples.moe.step.RankModel;
import io.nccl4j.examples.moe.step.RankOptions;
import io.nccl4j.examples.moe.step.StepBatch;
import io.nccl4j.examples.moe.step.StepMode;
import io.nccl4j.examples.moe.weights.WeightHash;
import io.nccl4j.nccl.Bootstrap;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.HdrHistogram.Histogram;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code step}: the bare step on one rank, without HTTP and scheduler, in the modes and for several batches. */
@Command(name = "step", mixinStandardHelpOptions = true, description = "Measures the bare decode step on one rank.")
public final class StepBenchCommand implements Callable<Integer> {
    @Mixin
    private ModelOptions model;

    @Option(names = "--modes", split = ",", defaultValue = "EAGER,PIECEWISE,GRAPH", description = "Which modes.")
    private List<StepMode> modes;

    @Option(names = "--batches", split = ",", defaultValue = "2,16,64,128", description = "Which batches.")
    private List<Integer> batches;

    @Option(names = "--steps", defaultValue = "200", description = "Measured steps (default: ${DEFAULT-VALUE}).")
    private int steps;

    @Option(names = "--length", defaultValue = "256", description = "Positions over which each row attends "
            + "(default: ${DEFAULT-VALUE}).")
    private int length;

    @Option(names = "--busy", defaultValue = "0", description = "Threads that allocate meanwhile.")
    private int busy;

    @Option(names = "--compared", defaultValue = "16", description = "Steps whose tokens are compared between "
            + "modes and batches (default: ${DEFAULT-VALUE}).")
    private int compared;

    /** The tokens of the rows that all batches have, by batch; each mode must come to the same. */
    private final Map<Integer, int[]> seen = new HashMap<>();

    @Override
    @SuppressWarnings("try") // The busy threads do their work by being there.
    public Integer call() {
        RankOptions options = model.rankOptions();
        ModelConfig config = options.config();
        if (options.ranks() != 1) {
            throw new ModelException("--ranks " + options.ranks() + ": the bare step is measured on one rank");
        }
        int widest = batches.stream().mapToInt(Integer::intValue).max().orElseThrow();
        if (widest > options.slots() || length + compared > options.context() || length < 1) {
            throw new ModelException(
                    "--batches " + widest + ", --length " + length + ": more than --slots or --context allow");
        }
        BackendChoice.use(model.backend());
        System.out.printf("%s, %d layers, %d positions, busy threads %d%n", config.name(), config.layers(), length,
                busy);
        System.out.println("| mode      | batch | p50 ms | p99 ms | p99/p50 | tokens/s | same tokens as |");
        boolean same = true;
        for (StepMode mode : modes) {
            try (Bootstrap bootstrap = Bootstraps.inProcess(1).getFirst();
                    RankModel rank = new RankModel(model.rankOptions(mode), bootstrap);
                    BusyThreads threads = new BusyThreads(busy)) {
                for (int batch : batches) {
                    same &= measure(rank, mode, config, batch);
                }
            }
        }
        return same ? 0 : 1;
    }

    private boolean measure(RankModel rank, StepMode mode, ModelConfig config, int batch) {
        StepBatch rows = batch(config, batch);
        for (int i = 0; i < 20; i++) {
            rank.run(rows);
        }
        Histogram micros = new Histogram(3);
        for (int i = 0; i < steps; i++) {
            long begin = System.nanoTime();
            rank.run(rows);
            micros.recordValue((System.nanoTime() - begin) / 1000);
        }
        String agreement = compare(decode(rank, config, batch), batch);
        double p50 = micros.getValueAtPercentile(50) / 1e3;
        double p99 = micros.getValueAtPercentile(99) / 1e3;
        System.out.printf(Locale.ROOT, "| %-9s | %5d | %6.2f | %6.2f | %7.3f | %8.0f | %-14s |%n", mode, batch, p50,
                p99, p99 / p50, batch / p50 * 1e3, agreement);
        return !agreement.startsWith("DIFFERS");
    }

    /**
     * A row per sequence, all at the same position; their caches hold what was there, which is the same for all modes.
     */
    private StepBatch batch(ModelConfig config, int count) {
        StepBatch batch = StepBatch.ofSize(count);
        for (int row = 0; row < count; row++) {
            batch.tokens()[row] = (int) Long.remainderUnsigned(WeightHash.mix(7, row), config.vocabulary());
            batch.slots()[row] = row;
            batch.positions()[row] = length - 1;
        }
        return batch;
    }

    /** Greedy tokens of the first two rows, from position 0 on, all rows of the batch decoding beside them. */
    private int[] decode(RankModel rank, ModelConfig config, int count) {
        StepBatch batch = batch(config, count);
        int[] tokens = new int[2 * compared];
        for (int step = 0; step < compared; step++) {
            Arrays.fill(batch.positions(), step);
            int[] sampled = rank.run(batch);
            System.arraycopy(sampled, 0, batch.tokens(), 0, count);
            tokens[2 * step] = sampled[0];
            tokens[2 * step + 1] = sampled[Math.min(1, count - 1)];
        }
        return tokens;
    }

    private String compare(int[] tokens, int batch) {
        int[] known = seen.putIfAbsent(batch, tokens);
        if (known != null) {
            return Arrays.equals(known, tokens) ? "first mode" : "DIFFERS mode";
        }
        int[] other = seen.entrySet().stream().filter(entry -> entry.getKey() > 1 && entry.getKey() < batch)
                .map(Map.Entry::getValue).findFirst().orElse(tokens);
        // Not an error with cuBLAS, whose rows depend on their number.
        return Arrays.equals(other, tokens) ? "other batches" : "other: differs";
    }
}
