package io.nccl4j.emulator;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.Layout;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import java.time.Duration;

/** A rank's part of a low-latency layer whose tokens go to no expert: every operation still waits for all ranks. */
final class LowLatencyLayer implements AutoCloseable {
    private static final Duration LIMIT = Duration.ofSeconds(20);
    private static final int HIDDEN = 512;
    private static final int TOKENS = 4;

    final Communicator communicator;
    final CudaStream stream;
    final EpGroup group;
    private final EpHandle handle;
    private final EpBuffers buffers;

    LowLatencyLayer(Bootstrap bootstrap, CudaDevice device, Duration timeout) {
        device.makeCurrent();
        communicator = Communicator.init(bootstrap, device);
        stream = CudaStream.create(device);
        group = EpGroup.create(communicator,
                EpGroupConfig.lowLatency().experts(4 * bootstrap.size()).maxTokensPerRank(TOKENS)
                        .maxTokenBytes(HIDDEN * 2).layout(Layout.EXPERT_MAJOR).topK(2).mask().timeout(timeout).build());
        handle = group.createHandle();
        buffers = handle.allocateBuffers(HIDDEN, DataType.BFLOAT16);
        buffers.routing().memory().fillAsync((byte) -1, stream);
        stream.await(LIMIT);
    }

    /** One dispatch, to its end; how long it took. */
    Duration dispatch() {
        long start = System.nanoTime();
        handle.dispatchAsync(buffers, TOKENS, stream);
        stream.await(LIMIT);
        return Duration.ofNanos(System.nanoTime() - start);
    }

    @Override
    public void close() {
        buffers.close();
        handle.close();
        group.close();
        stream.close();
        communicator.close();
    }
}
