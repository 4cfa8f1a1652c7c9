package io.nccl4j.benchmarks.jmh;

import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.Layout;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;

/** A low-latency group of one rank with a handle and buffers: what the host benchmarks make calls on. */
final class SingleRank implements AutoCloseable {
    static final int TOKENS = 128;
    static final int TOP_K = 8;
    static final int HIDDEN = 7168;
    private static final int EXPERTS = 8;

    final Bootstrap bootstrap;
    final Communicator communicator;
    final CudaStream stream;
    final EpGroup group;
    final EpHandle handle;
    final EpBuffers buffers;

    SingleRank() {
        CudaDevice device = CudaDevice.of(0);
        bootstrap = Bootstraps.inProcess(1).getFirst();
        communicator = Communicator.init(bootstrap, device);
        stream = CudaStream.create(device);
        group = EpGroup.create(communicator, EpGroupConfig.lowLatency().experts(EXPERTS).maxTokensPerRank(TOKENS)
                .maxTokenBytes(HIDDEN * Short.BYTES).layout(Layout.EXPERT_MAJOR).topK(TOP_K).build());
        handle = group.createHandle();
        buffers = handle.allocateBuffers(BufferConfig.of(HIDDEN, DataType.BFLOAT16));
    }

    @Override
    public void close() {
        buffers.close();
        handle.close();
        group.close();
        stream.close();
        communicator.close();
        bootstrap.close();
    }
}
