package io.nccl4j.benchmarks.demo;

import io.nccl4j.cuda.CudaStream;
import java.nio.ByteBuffer;
import java.util.List;

/**
 * Runs a rank's experts on the tokens that it has received, in stream order: received rows are copied to pinned memory, a host
 * function computes on them in place, and they are copied back as the experts' outputs. That is right on a GPU and on the
 * emulator, and can be captured; a server has a grouped GEMM here, which reads the same counts on the device.
 */
interface ExpertStage extends AutoCloseable {

    /** Enqueues the experts of one layer. */
    void enqueue(ExpertFunction experts, CudaStream stream);

    /** What the last layer of a step that has ended has received: rows in use of each zone, with all that came with them. */
    List<List<ByteBuffer>> received();

    @Override
    void close();
}
