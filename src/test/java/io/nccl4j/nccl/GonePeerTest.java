package io.nccl4j.nccl;

import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A communicator asks its bootstrap who has gone before it waits for other ranks. */
@Timeout(60)
@EmulatedRanks(value = 2, allowLeaks = true)
class GonePeerTest {
    /** Tells of rank 1 what the test says. */
    private static final class Telling implements Bootstrap {
        private final Bootstrap real;
        private volatile Map<Integer, Departure> gone = Map.of();

        Telling(Bootstrap real) {
            this.real = real;
        }

        @Override
        public int rank() {
            return real.rank();
        }

        @Override
        public int size() {
            return real.size();
        }

        @Override
        public int localRank() {
            return real.localRank();
        }

        @Override
        public Duration limit() {
            return real.limit();
        }

        @Override
        public byte[][] allGather(byte[] mine) {
            return real.allGather(mine);
        }

        @Override
        public Map<Integer, Departure> goneRanks() {
            return gone;
        }

        @Override
        public void close() {
            real.close();
        }
    }

    @Test
    void h3WhoHasGoneIsNotWaitedFor(EmulatedCluster cluster) {
        long destroyed = Emulator.callCount("ncclCommDestroy");
        long deregistered = Emulator.callCount("ncclCommWindowDeregister");
        long split = Emulator.callCount("ncclCommSplit");
        cluster.run(rank -> {
            Telling bootstrap = new Telling(rank.bootstrap());
            Communicator communicator = Communicator.init(bootstrap, rank.device());
            DeviceMemory memory = communicator.allocate(4096);
            Window window = communicator.register(memory);
            bootstrap.gone = Map.of(1 - rank.rank(), new Departure(true, "has ended: its connection broke"));
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
            Telling bootstrap = new Telling(rank.bootstrap());
            Communicator communicator = Communicator.init(bootstrap, rank.device());
            bootstrap.gone = Map.of(1 - rank.rank(), new Departure(false, "has left"));
            communicator.split(0, 0).close();
            communicator.close();
        });
        assertThat(Emulator.callCount("ncclCommDestroy")).isEqualTo(destroyed + 4);
    }
}
