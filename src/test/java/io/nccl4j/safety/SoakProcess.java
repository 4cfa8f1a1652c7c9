package io.nccl4j.safety;

import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.internal.Ownership;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.SplittableRandom;

/**
 * Replays a graph with new routing each time, while handles come and go: arguments are the number of replays, shared by
 * all layouts, and a seed. Prints a line at each tenth of a layout with what is alive; ends with 1 if something is left
 * or a result is wrong.
 */
public final class SoakProcess {
    private static final int RANKS = 2;
    private static final int PARTS = 10;
    /** A handle is made, used and destroyed after so many replays. */
    private static final int REPLAYS_PER_HANDLE = 50;
    private static final int REPLAYS_PER_COMPARISON = 20;
    private static final Duration LIMIT = Duration.ofHours(6);

    private SoakProcess() {
    }

    public static void main(String[] arguments) {
        int replays = Integer.parseInt(arguments[0]) / LayerKind.values().length;
        long seed = Long.parseUnsignedLong(arguments[1], 16);
        Emulator.use();
        Emulator.options().poison(true).shuffle(seed | 1);
        EmulatorUsage before = Emulator.usage();
        for (LayerKind shape : LayerKind.values()) {
            EpCase model = shape.draw(RANKS, seed);
            EmulatedCluster.of(RANKS).limit(LIMIT).run(rank -> soak(rank, shape, model, replays));
        }
        System.gc();
        System.out.println("left " + Emulator.usage().leakedSince(before) + ", never closed " + Ownership.leaks());
        System.out.println("done");
        System.exit(0);
    }

    private static void soak(EmulatedRank rank, LayerKind shape, EpCase model, int replays) throws Exception {
        SplittableRandom random = new SplittableRandom(model.seed());
        int part = Math.max(1, replays / PARTS);
        long compared = 0;
        long handles = 0;
        try (MoeRank world = MoeRank.of(rank, shape, model)) {
            MoeLayer layer = world.layer();
            try (CudaGraphExec exec = layer.capture(layer.buffers().maxTokens())) {
                for (int replay = 1; replay <= replays; replay++) {
                    EpCase batch = model.redraw(RoutingKind.HOLES, random.nextLong());
                    layer.load(batch);
                    exec.launch(world.stream());
                    world.await();
                    if (replay % REPLAYS_PER_COMPARISON == 1) {
                        layer.verify(batch);
                        compared++;
                    }
                    if (replay % REPLAYS_PER_HANDLE == 0) {
                        comeAndGo(world, batch);
                        handles++;
                    }
                    if (replay % part == 0) {
                        report(rank, shape, replay, compared, handles);
                    }
                }
            }
        }
    }

    /** Another handle with buffers and a graph of its own, beside the one that is replayed. */
    private static void comeAndGo(MoeRank world, EpCase batch) {
        try (var handle = world.group().createHandle();
                MoeLayer other = new MoeLayer(handle, world.rows(), world.stream());
                CudaGraphExec exec = other.capture(other.buffers().maxTokens())) {
            other.runAndVerify(batch, exec);
        }
    }

    private static void report(EmulatedRank rank, LayerKind shape, int replay, long compared, long handles)
            throws IOException {
        // All ranks are at the same place, so what is alive is the same each time.
        rank.bootstrap().barrier();
        if (rank.rank() == 0) {
            EmulatorUsage usage = Emulator.usage();
            System.out.println("soak " + shape + " replays " + replay + " compared " + compared + " handles " + handles
                    + " device " + usage.deviceAllocations() + "/" + usage.deviceBytes() + " pinned "
                    + usage.pinnedAllocations() + " graphs " + usage.graphExecs() + " resident " + residentKilobytes());
        }
        rank.bootstrap().barrier();
    }

    /** Memory of this process that is in RAM. */
    private static long residentKilobytes() throws IOException {
        return Files.readAllLines(Path.of("/proc/self/status")).stream().filter(line -> line.startsWith("VmRSS:"))
                .map(line -> line.replaceAll("\\D", "")).mapToLong(Long::parseLong).findFirst().orElseThrow();
    }
}
