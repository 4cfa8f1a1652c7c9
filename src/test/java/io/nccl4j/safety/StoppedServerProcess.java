package io.nccl4j.safety;

import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.nio.ByteBuffer;
import java.time.Duration;

/**
 * A server of two ranks that replays until it is told to stop, which the hook does and the threads that own things then
 * do: each ends its step with the others and closes what it has. The argument is the layer.
 */
final class StoppedServerProcess {
    private static volatile boolean stopping;

    private StoppedServerProcess() {
    }

    public static void main(String[] arguments) {
        Thread server = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stopping = true;
            try {
                server.join(Duration.ofSeconds(30));
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            System.out.println("stopped, alive " + server.isAlive() + ", left " + Emulator.usage());
        }));
        LayerKind kind = LayerKind.valueOf(arguments[0]);
        EpCase model = kind.draw(2, 1700);
        EmulatedCluster.of(2).limit(Duration.ofMinutes(1)).run(rank -> serve(rank, kind, model));
    }

    private static void serve(EmulatedRank rank, LayerKind kind, EpCase model) {
        try (MoeRank world = MoeRank.of(rank, kind, model)) {
            MoeLayer layer = world.layer();
            EpCase batch = world.draw(RoutingKind.UNIFORM, 1701);
            layer.load(batch);
            try (CudaGraphExec step = layer.capture(layer.buffers().maxTokens())) {
                boolean first = true;
                do {
                    step.launch(world.stream());
                    world.await();
                    layer.verify(batch);
                    if (first && rank.rank() == 0) {
                        System.out.println("serving");
                    }
                    first = false;
                } while (goOn(rank));
            }
        }
    }

    /** The ranks stop after the same step. */
    private static boolean goOn(EmulatedRank rank) {
        byte[] mine = {(byte) (stopping ? 1 : 0)};
        for (byte[] other : rank.bootstrap().allGather(mine)) {
            if (ByteBuffer.wrap(other).get() != 0) {
                return false;
            }
        }
        return true;
    }
}
