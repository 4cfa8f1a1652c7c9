package io.nccl4j.benchmarks.bench;

import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.Layout;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;

/** A program that does what a server does until its first dispatch has ended, on one emulated rank, and says so. */
final class FirstDispatch {
    private static final int EXPERTS = 8;
    private static final int TOKENS = 128;
    private static final int HIDDEN = 7168;
    private static final int TOP_K = 8;

    private FirstDispatch() {
    }

    public static void main(String[] arguments) {
        Emulator.use();
        CudaDevice device = CudaDevice.of(0);
        try (Bootstrap bootstrap = Bootstraps.inProcess(1).getFirst();
                Communicator communicator = Communicator.init(bootstrap, device);
                CudaStream stream = CudaStream.create(device);
                EpGroup group = EpGroup.create(communicator,
                        EpGroupConfig.lowLatency().experts(EXPERTS).maxTokensPerRank(TOKENS)
                                .maxTokenBytes(HIDDEN * Short.BYTES).layout(Layout.EXPERT_MAJOR).topK(TOP_K));
                EpHandle handle = group.createHandle();
                EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(HIDDEN, DataType.BFLOAT16))) {
            handle.dispatchAsync(buffers, TOKENS, stream);
            stream.synchronize();
            System.out.println("dispatched");
        }
    }
}
