package io.nccl4j.nccl;

import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import java.lang.reflect.Proxy;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A communicator asks its bootstrap who has gone before it waits for other ranks. */
@Timeout(60)
@EmulatedRanks(value = 2, allowLeaks = true)
class GonePeerTest {
    /** A bootstrap that tells what the test says of who has gone. */
    private static Bootstrap telling(Bootstrap real, AtomicReference<Map<Integer, Departure>> gone) {
        Class<?>[] types = {Bootstrap.class};
        return (Bootstrap) Proxy.newProxyInstance(Bootstrap.class.getClassLoader(), types, (proxy, method,
                arguments) -> method.getName().equals("goneRanks") ? gone.get() : method.invoke(real, arguments));
    }
    @Test
    void h3WhoHasGoneIsNotWaitedFor(EmulatedCluster cluster) {
        long destroyed = Emulator.callCount("ncclCommDestroy");
        long deregistered = Emulator.callCount("ncclCommWindowDeregister");
        long split = Emulator.callCount("ncclCommSplit");
        cluster.run(rank -> {
            AtomicReference<Map<Integer, Departure>> gone = new AtomicReference<>(Map.of());
            Bootstrap bootstrap = telling(rank.bootstrap(), gone);
            Communicator communicator = Communicator.init(bootstrap, rank.device());
            DeviceMemory memory = communicator.allocate(4096);
            Window window = communicator.register(memory);
            gone.set(Map.of(1 - rank.rank(), new Departure(true, "has ended: its connection broke")));
            assertThat(communicator.isUsable()).as("what is eager is not asked").isTrue();
            assertIllegalState(() -> communicator.split(0, 0), "ncclCommSplit on Communicator#", "was not made",
                    "rank " + (1 - rank.rank()) + " has ended: its connection broke");
            assertThat(communicator.lost()).contains("has ended");
            window.close();
            memory.close();
            communicator.close();
        });
        assertThat(Emulator.callCount("ncclCommDestroy")).isEqualTo(destroyed);
        assertThat(Emulator.callCount("ncclCommWindowDeregister")).isEqualTo(deregistered);
        assertThat(Emulator.callCount("ncclCommSplit")).isEqualTo(split);
    }

    @Test
    void h3WhoHasOnlyClosedItsBootstrapStillTakesPart(EmulatedCluster cluster) {
        long destroyed = Emulator.callCount("ncclCommDestroy");
        cluster.run(rank -> {
            AtomicReference<Map<Integer, Departure>> gone = new AtomicReference<>(Map.of());
            Bootstrap bootstrap = telling(rank.bootstrap(), gone);
            Communicator communicator = Communicator.init(bootstrap, rank.device());
            gone.set(Map.of(1 - rank.rank(), new Departure(false, "has left")));
            communicator.split(0, 0).close();
            communicator.close();
        });
        assertThat(Emulator.callCount("ncclCommDestroy")).isEqualTo(destroyed + 4);
    }
}
