package io.nccl4j.examples.moe.bench;

import io.nccl4j.examples.moe.BackendChoice;
import io.nccl4j.examples.moe.ModelOptions;
import io.nccl4j.examples.moe.model.ModelConfig;
import io.nccl4j.examples.moe.model.ModelException;
import io.nccl4j.examples.moe.rank.Rank;
import io.nccl4j.examples.moe.rank.RankCommand;
import io.nccl4j.examples.moe.rank.RankLostException;
import io.nccl4j.examples.moe.rank.Ranks;
import io.nccl4j.examples.moe.step.RankOptions;
import io.nccl4j.examples.moe.step.StepBatch;
import io.nccl4j.examples.moe.step.StepMode;
import io.nccl4j.examples.moe.weights.WeightHash;
import java.time.Duration;
import java.util.ArrayList;
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

/** {@code step}: the step without HTTP and scheduler, in the modes and for several batches. */
@Command(name = "step", mixinStandardHelpOptions = true,
        description = "Measures the decode step, without HTTP and " + "scheduler.")
public final class StepBenchCommand implements Callable<Integer> {
    private static final Duration LIMIT = Duration.ofMinutes(5);
    private static final int WARM_UP = 20;

    @Mixin
    private ModelOptions model;

    @Option(names = "--modes", split = ",", defaultValue = "EAGER,PIECEWISE,GRAPH",
            description = "Which modes: " + "${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    private List<StepMode> modes;

    @Option(names = "--batches", split = ",", defaultValue = "2,16,64,128",
            description = "Which batches, " + "over all ranks (default: ${DEFAULT-VALUE}).")
    private List<Integer> batches;

    @Option(names = "--processes", description = "A process per rank instead of a thread.")
    private boolean processes;

    @Option(names = "--steps", defaultValue = "200", description = "Measured steps (default: ${DEFAULT-VALUE}).")
    private int steps;

    @Option(names = "--length", defaultValue = "256",
            description = "Positions over which each row attends " + "(default: ${DEFAULT-VALUE}).")
    private int length;

    @Option(names = "--busy", defaultValue = "0", description = "Threads that allocate meanwhile.")
    private int busy;

    @Option(names = "--compared", defaultValue = "16",
            description = "Steps whose tokens are compared between " + "modes and batches (default: ${DEFAULT-VALUE}).")
    private int compared;

    /** The tokens of the rows that all batches have, by batch; each mode must come to the same. */
    private final Map<Integer, int[]> seen = new HashMap<>();

    @Override
    @SuppressWarnings("try") // The busy threads do their work by being there.
    public Integer call() {
        RankOptions options = model.rankOptions();
        ModelConfig config = options.config();
        int widest = batches.stream().mapToInt(Integer::intValue).max().orElseThrow();
        if (share(widest, 0, options.ranks()) > options.slots() || length + compared > options.context()
                || length < 1) {
            throw new ModelException(
                    "--batches " + widest + ", --length " + length + ": more than --slots or --context allow");
        }
        if (!processes) {
            BackendChoice.use(model.backend());
        }
        System.out.printf("%s, %d layers, %d positions, %d ranks as %s, busy threads %d%n", config.name(),
                config.layers(), length, options.ranks(), processes ? "processes" : "threads", busy);
        System.out.println("| mode      | batch | p50 ms | p99 ms | p99/p50 | tokens/s | same tokens as | tokens   |");
        boolean same = true;
        for (StepMode mode : modes) {
            List<Rank> ranks = start(model.rankOptions(mode));
            try (BusyThreads threads = new BusyThreads(busy)) {
                for (int batch : batches) {
                    same &= measure(ranks, mode, config, batch);
                }
            } finally {
                end(ranks);
            }
        }
        return same ? 0 : 1;
    }

    private List<Rank> start(RankOptions options) {
        return processes ? Ranks.processes(options, model.backend(), LIMIT) : Ranks.threads(options, LIMIT);
    }

    private static void end(List<Rank> ranks) {
        for (Rank rank : ranks) {
            try {
                rank.send(new RankCommand.Stop());
            } catch (RankLostException e) {
                rank.kill();
            }
        }
        for (Rank rank : ranks) {
            if (!rank.join(LIMIT)) {
                rank.kill();
            }
        }
    }

    private boolean measure(List<Rank> ranks, StepMode mode, ModelConfig config, int batch) {
        List<StepBatch> rows = batches(config, batch, ranks.size());
        for (int i = 0; i < WARM_UP; i++) {
            run(ranks, rows);
        }
        Histogram micros = new Histogram(3);
        for (int i = 0; i < steps; i++) {
            long begin = System.nanoTime();
            run(ranks, rows);
            micros.recordValue((System.nanoTime() - begin) / 1000);
        }
        int[] tokens = decode(ranks, config, batch);
        String agreement = compare(tokens, batch);
        double p50 = micros.getValueAtPercentile(50) / 1e3;
        double p99 = micros.getValueAtPercentile(99) / 1e3;
        System.out.printf(Locale.ROOT, "| %-9s | %5d | %6.2f | %6.2f | %7.3f | %8.0f | %-14s | %08x |%n", mode, batch,
                p50, p99, p99 / p50, batch / p50 * 1e3, agreement, Arrays.hashCode(tokens));
        return !agreement.startsWith("DIFFERS");
    }

    /** A step of all ranks; the sampled tokens of each. */
    private static List<int[]> run(List<Rank> ranks, List<StepBatch> batch) {
        try {
            for (int rank = 0; rank < ranks.size(); rank++) {
                ranks.get(rank).send(new RankCommand.Step(batch.get(rank)));
            }
            List<int[]> sampled = new ArrayList<>();
            for (Rank rank : ranks) {
                sampled.add(rank.await(LIMIT).sampled());
            }
            return sampled;
        } catch (RankLostException e) {
            throw new ModelException(e.getMessage(), e);
        }
    }

    /** Sequences that a rank has of {@code count}: they are dealt out in turn. */
    private static int share(int count, int rank, int ranks) {
        return (count - rank + ranks - 1) / ranks;
    }

    /**
     * A row per sequence, all at the same position; their caches hold what was there, which is the same for all modes.
     */
    private List<StepBatch> batches(ModelConfig config, int count, int ranks) {
        List<StepBatch> batches = new ArrayList<>();
        for (int rank = 0; rank < ranks; rank++) {
            StepBatch batch = StepBatch.ofSize(share(count, rank, ranks));
            for (int row = 0; row < batch.rows(); row++) {
                batch.tokens()[row] = (int) Long.remainderUnsigned(WeightHash.mix(7, row * ranks + rank),
                        config.vocabulary());
                batch.slots()[row] = row;
                batch.positions()[row] = length - 1;
            }
            batches.add(batch);
        }
        return batches;
    }

    /** Greedy tokens of the first two sequences, from position 0 on, all others decoding beside them. */
    private int[] decode(List<Rank> ranks, ModelConfig config, int count) {
        List<StepBatch> batch = batches(config, count, ranks.size());
        int[] tokens = new int[2 * compared];
        for (int step = 0; step < compared; step++) {
            for (StepBatch rows : batch) {
                Arrays.fill(rows.positions(), step);
            }
            List<int[]> sampled = run(ranks, batch);
            for (int rank = 0; rank < ranks.size(); rank++) {
                System.arraycopy(sampled.get(rank), 0, batch.get(rank).tokens(), 0, batch.get(rank).rows());
            }
            for (int i = 0; i < 2; i++) {
                int sequence = Math.min(i, count - 1);
                tokens[2 * step + i] = sampled.get(sequence % ranks.size())[sequence / ranks.size()];
            }
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
