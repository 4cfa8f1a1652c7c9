package io.nccl4j.nccl;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;

/** A test that needs a communicator and a stream on each rank, which are closed with it. */
public final class CommunicatorRun {
    private CommunicatorRun() {
    }

    /** The part of a rank. */
    @FunctionalInterface
    public interface Body {
        void run(EmulatedRank rank, Communicator communicator, CudaStream stream) throws Exception;
    }

    /** Runs it on each rank of a cluster. */
    public static void run(EmulatedCluster cluster, Body body) {
        cluster.run(rank -> {
            try (Communicator communicator = Communicator.init(rank.bootstrap(), rank.device());
                    CudaStream stream = CudaStream.create(rank.device())) {
                body.run(rank, communicator, stream);
            }
        });
    }
}
