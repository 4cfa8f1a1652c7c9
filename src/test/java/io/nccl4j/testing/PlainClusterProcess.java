package io.nccl4j.testing;

import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedClusterException;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import java.time.Duration;

/** Uses a cluster as a new user would, without the JUnit extension; arguments are the mistake and the layer. */
final class PlainClusterProcess {
    private PlainClusterProcess() {
    }

    public static void main(String[] arguments) {
        LayerKind kind = LayerKind.valueOf(arguments[1]);
        EpCase model = kind.draw(2, 1);
        try {
            EmulatedCluster.of(2).limit(Duration.ofSeconds(10)).run(rank -> {
                MoeRank world = MoeRank.of(rank, kind, model);
                MoeLayer layer = world.layer();
                layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 2));
                switch (arguments[0]) {
                    case "throws" -> {
                        if (rank.rank() == 1) {
                            throw new IllegalStateException("a mistake of mine");
                        }
                        layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 3));
                    }
                    case "one step less" -> {
                        if (rank.rank() == 0) {
                            layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 3));
                        }
                    }
                    case "expert 99" -> {
                        world.device()
                                .run(() -> layer.buffers().routing().memory().fillAsync((byte) 99, world.stream()));
                        layer.enqueue(1);
                        world.await();
                    }
                    default -> {
                        try (Communicator other = Communicator.init(rank.bootstrap(), rank.device())) {
                            EpGroup.create(other, kind.config(model));
                            throw new IllegalStateException("the group is left open");
                        }
                    }
                }
                world.close();
            });
            System.out.println("nothing was thrown");
        } catch (EmulatedClusterException e) {
            System.out.println("caught " + e.getMessage());
        }
        System.out.println("done");
    }
}
