package com.example;

import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.*;
import io.nccl4j.nccl.*;
import java.lang.foreign.*;
import java.util.Arrays;

public class FirstDispatch {
    public static void main(String[] args) {
        EpGroupConfig config = EpGroupConfig.lowLatency().experts(4).maxTokensPerRank(3).maxTokenBytes(512 * 2)
                .layout(Layout.EXPERT_MAJOR).topK(2);
        try (Bootstrap ranks = Bootstraps.fromEnvironment();
                Communicator comm = Communicator.init(ranks, ranks.device());
                CudaStream stream = CudaStream.create(comm.device());
                EpGroup group = EpGroup.create(comm, config);
                EpHandle handle = group.createHandle();
                EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(512, DataType.BFLOAT16));
                Arena host = Arena.ofConfined()) {
            handle.warmUp(buffers, 3, stream); // collective; compiles the kernels
            long[] experts = {0, 1, 0, 2, 0, 3}; // three tokens, two experts each
            buffers.routing().memory().copyFrom(host.allocateFrom(ValueLayout.JAVA_LONG, experts));
            handle.dispatchAsync(buffers, 3, stream); // collective
            int[] rows = buffers.readCountsForDebug(stream); // waits
            System.out.println("rank " + comm.rank() + " has received " + Arrays.toString(rows) + " rows");
        }
    }
}
