package io.nccl4j.safety;

import io.nccl4j.bootstrap.BootstrapOptions;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaException;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.Fault;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import java.nio.file.Path;
import java.time.Duration;

/**
 * One of several processes with a rank each, on two nodes, of which the second dies in the middle of a step: arguments
 * are a folder to meet in, the rank, the number of ranks and the layer's shape. Prints what happened, a line each.
 */
public final class DyingNodeProcess {
    private static final int NODES = 2;
    private static final Duration LIMIT = Duration.ofSeconds(20);
    private static final Duration TIMEOUT = Duration.ofMillis(800);

    private DyingNodeProcess() {
    }

    public static void main(String[] arguments) {
        Emulator.use();
        Path folder = Path.of(arguments[0]);
        int rank = Integer.parseInt(arguments[1]);
        int size = Integer.parseInt(arguments[2]);
        LayerKind kind = LayerKind.valueOf(arguments[3]);
        EpCase model = EpCase.draw(kind.space(size).withTeams(NODES), 611);
        EpGroupConfig plain = kind.config(model);
        EpGroupConfig config = kind.isLowLatency() ? plain.mask().timeout(TIMEOUT) : plain;
        try (Bootstrap bootstrap = Bootstraps.file(folder.resolve("all"), rank, size, options())) {
            CudaDevice device = CudaDevice.of(rank);
            Communicator communicator = Communicator.init(bootstrap, device);
            CudaStream stream = CudaStream.create(device);
            EpGroup group = EpGroup.create(communicator, config);
            EpHandle handle = group.createHandle();
            MoeLayer layer = new MoeLayer(handle, BufferConfig.of(model.hidden(), LayerKind.type(model.format())));
            System.out.println("teams " + group.lsaTeams());
            layer.runAndVerify(model.redraw(RoutingKind.UNIFORM, 612), stream);
            bootstrap.barrier();
            int first = size - size / NODES;
            if (rank >= first) {
                // In the dispatch of the next step.
                Emulator.inject(new Fault.EndProcess(rank, 1));
            }
            if (kind.isLowLatency()) {
                step(layer, without(model, first), model, stream);
                System.out.println("seen " + group.maskQuery(stream) + ", error " + group.asyncError());
                goOn(folder, group, layer, model, first, stream);
            } else {
                fail(layer, model, stream);
            }
            communicator.abandon("a node has died");
            layer.close();
            handle.close();
            group.close();
            stream.close();
            communicator.close();
            System.out.println("done");
        }
    }

    private static BootstrapOptions options() {
        return BootstrapOptions.defaults().limit(LIMIT);
    }

    /** The batch without the ranks from {@code first} on. */
    private static EpCase without(EpCase batch, int first) {
        EpCase rest = batch;
        for (int rank = first; rank < batch.shape().ranks(); rank++) {
            rest = Survivors.without(rest, rank);
        }
        return rest;
    }

    private static void step(MoeLayer layer, EpCase expected, EpCase batch, CudaStream stream) {
        layer.load(batch, stream);
        layer.enqueue(layer.count(batch), stream);
        stream.await(LIMIT);
        layer.verify(expected);
    }

    /** The survivors meet anew, agree, and work on. */
    private static void goOn(Path folder, EpGroup group, MoeLayer layer, EpCase model, int first, CudaStream stream) {
        int rank = group.communicator().rank();
        try (Bootstrap channel = Bootstraps.file(folder.resolve("survivors"), rank, first, options())) {
            System.out.println("agreed " + MaskAgreement.agree(group, channel, stream));
            for (int step = 0; step < 5; step++) {
                EpCase batch = model.redraw(RoutingKind.UNIFORM, 613 + step);
                step(layer, without(batch, first), batch, stream);
            }
            System.out.println("verified 5 steps");
            channel.barrier();
        }
    }

    /** High throughput has no masks: the step ends with an exception, and so does what comes after it. */
    private static void fail(MoeLayer layer, EpCase batch, CudaStream stream) {
        layer.load(batch, stream);
        for (int attempt = 0; attempt < 2; attempt++) {
            long start = System.nanoTime();
            try {
                layer.enqueue(layer.count(batch), stream);
                stream.await(LIMIT);
                System.out.println("nothing has failed");
            } catch (CudaException e) {
                Duration taken = Duration.ofNanos(System.nanoTime() - start);
                System.out.println("failed " + (taken.compareTo(LIMIT) < 0 ? "in time: " : "late: ") + e.getMessage());
            }
        }
    }
}
