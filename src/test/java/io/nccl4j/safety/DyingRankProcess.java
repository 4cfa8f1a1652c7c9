package io.nccl4j.safety;

import io.nccl4j.bootstrap.BootstrapOptions;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.Fault;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.RankMask;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import java.nio.file.Path;
import java.time.Duration;

/**
 * One of several processes with a rank each, of which the last dies in the middle of a step: arguments are a folder to
 * meet in, the rank, the number of ranks and the layer's shape. Prints what happened, a line each.
 */
public final class DyingRankProcess {
    private static final Duration LIMIT = Duration.ofSeconds(20);
    private static final Duration TIMEOUT = Duration.ofMillis(800);

    private DyingRankProcess() {
    }

    public static void main(String[] arguments) {
        Emulator.use();
        Path folder = Path.of(arguments[0]);
        int rank = Integer.parseInt(arguments[1]);
        int size = Integer.parseInt(arguments[2]);
        LayerKind shape = LayerKind.valueOf(arguments[3]);
        EpCase model = shape.draw(size, 601);
        BootstrapOptions options = BootstrapOptions.defaults().limit(LIMIT);
        try (Bootstrap bootstrap = Bootstraps.file(folder.resolve("all"), rank, size, options)) {
            CudaDevice device = CudaDevice.of(rank);
            Communicator communicator = Communicator.init(bootstrap, device);
            CudaStream stream = CudaStream.create(device);
            EpGroup group = EpGroup.create(communicator, shape.config(model).mask().timeout(TIMEOUT));
            EpHandle handle = group.createHandle();
            MoeLayer layer = new MoeLayer(handle, BufferConfig.of(model.hidden(), LayerKind.type(model.format())));
            layer.runAndVerify(model.redraw(RoutingKind.UNIFORM, 602), stream);
            bootstrap.barrier();
            int dying = size - 1;
            if (rank == dying) {
                // In the dispatch of the next step.
                Emulator.inject(new Fault.EndProcess(dying, 1));
            }
            step(layer, Survivors.without(model, dying), model, stream);
            System.out.println("survived");
            RankMask seen = group.maskQuery(stream);
            System.out.println("seen " + seen + ", error " + group.asyncError());
            try {
                bootstrap.barrier();
            } catch (RuntimeException e) {
                System.out.println("channel: " + e.getMessage());
            }
            goOn(folder, group, layer, model, dying, stream);
            communicator.abandon("rank " + dying + " has died");
            layer.close();
            handle.close();
            group.close();
            stream.close();
            communicator.close();
            System.out.println("done");
        }
    }

    private static void step(MoeLayer layer, EpCase expected, EpCase batch, CudaStream stream) {
        layer.load(batch, stream);
        layer.enqueue(layer.count(batch), stream);
        stream.await(LIMIT);
        layer.verify(expected);
    }

    /** The survivors meet anew, agree, and work on. */
    private static void goOn(Path folder, EpGroup group, MoeLayer layer, EpCase model, int dead, CudaStream stream) {
        int rank = group.communicator().rank();
        int survivors = group.communicator().size() - 1;
        try (Bootstrap channel = Bootstraps.file(folder.resolve("survivors"), rank, survivors,
                BootstrapOptions.defaults().limit(LIMIT))) {
            RankMask agreed = MaskAgreement.agree(group, channel, stream);
            System.out.println("agreed " + agreed);
            for (int step = 0; step < 5; step++) {
                EpCase batch = model.redraw(RoutingKind.UNIFORM, 603 + step);
                step(layer, Survivors.without(batch, dead), batch, stream);
            }
            System.out.println("verified 5 steps");
            channel.barrier();
        }
    }
}
