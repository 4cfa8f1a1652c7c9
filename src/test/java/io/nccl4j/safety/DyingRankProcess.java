package io.nccl4j.safety;

import io.nccl4j.bootstrap.BootstrapOptions;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaException;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.Fault;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.nio.file.Path;
import java.time.Duration;

/**
 * One of several processes with a rank each, on one or two nodes, of which the last rank or the second node dies in the
 * middle of a step: arguments are a folder to meet in, the rank, the number of ranks, the layer's shape and the number
 * of nodes. Prints what happened, a line each.
 */
public final class DyingRankProcess {
    private static final Duration LIMIT = Duration.ofSeconds(20);
    private static final Duration TIMEOUT = Duration.ofMillis(800);
    private static final BootstrapOptions OPTIONS = BootstrapOptions.defaults().limit(LIMIT);

    private DyingRankProcess() {
    }

    public static void main(String[] arguments) {
        Emulator.use();
        Path folder = Path.of(arguments[0]);
        int rank = Integer.parseInt(arguments[1]);
        int size = Integer.parseInt(arguments[2]);
        LayerKind kind = LayerKind.valueOf(arguments[3]);
        int nodes = Integer.parseInt(arguments[4]);
        int living = nodes == 1 ? size - 1 : size / nodes;
        EpCase model = EpCase.draw(kind.space(size).withTeams(nodes), 601);
        EpGroupConfig config = kind.config(model);
        BufferConfig rows = BufferConfig.of(model.hidden(), LayerKind.type(model.format()));
        try (Bootstrap bootstrap = Bootstraps.file(folder.resolve("all"), rank, size, OPTIONS);
                MoeRank moe = new MoeRank(bootstrap, CudaDevice.of(rank),
                        kind.isLowLatency() ? config.mask().timeout(TIMEOUT) : config, rows)) {
            MoeLayer layer = moe.layer();
            System.out.println("teams " + moe.group().lsaTeams());
            layer.runAndVerify(model.redraw(RoutingKind.UNIFORM, 602));
            bootstrap.barrier();
            if (rank >= living) {
                // In the dispatch of the next step.
                Emulator.inject(new Fault.EndProcess(rank, 1));
            }
            if (kind.isLowLatency()) {
                step(moe, layer, model, living);
                System.out
                        .println("seen " + moe.group().maskQuery(moe.stream()) + ", error " + moe.group().asyncError());
                try {
                    bootstrap.barrier();
                } catch (RuntimeException e) {
                    System.out.println("channel: " + e.getMessage());
                }
                goOn(folder, moe, layer, model, living);
            } else {
                fail(moe, layer, model);
            }
            moe.communicator().abandon("ranks have died");
        }
        System.out.println("done");
    }

    /** A step of which the ranks from {@code living} on have no part. */
    private static void step(MoeRank moe, MoeLayer layer, EpCase batch, int living) {
        EpCase expected = batch;
        for (int rank = living; rank < batch.shape().ranks(); rank++) {
            expected = Survivors.without(expected, rank);
        }
        layer.load(batch);
        layer.enqueue(layer.count(batch));
        moe.await();
        layer.verify(expected);
    }

    /** The survivors meet anew, agree, and work on. */
    private static void goOn(Path folder, MoeRank moe, MoeLayer layer, EpCase model, int living) {
        try (Bootstrap channel = Bootstraps.file(folder.resolve("survivors"), moe.rank(), living, OPTIONS)) {
            System.out.println("agreed " + MaskAgreement.agree(moe.group(), channel, moe.stream()));
            for (int step = 0; step < 5; step++) {
                step(moe, layer, model.redraw(RoutingKind.UNIFORM, 603 + step), living);
            }
            System.out.println("verified 5 steps");
            channel.barrier();
        }
    }

    /** High throughput has no masks: the step ends with an exception, and so does what comes after it. */
    private static void fail(MoeRank moe, MoeLayer layer, EpCase batch) {
        layer.load(batch);
        for (int attempt = 0; attempt < 2; attempt++) {
            long start = System.nanoTime();
            try {
                layer.enqueue(layer.count(batch));
                moe.await();
                System.out.println("nothing has failed");
            } catch (CudaException e) {
                Duration taken = Duration.ofNanos(System.nanoTime() - start);
                System.out.println("failed " + (taken.compareTo(LIMIT) < 0 ? "in time: " : "late: ") + e.getMessage());
            }
        }
    }
}
