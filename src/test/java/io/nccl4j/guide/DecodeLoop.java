package io.nccl4j.guide;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;

/** A MoE layer as a graph, replayed for each batch. Runs once per rank: in a process or a thread of its own. */
class DecodeLoop {
    /** Your server. */
    interface Server {
        boolean nextBatch();

        /** Enqueues copies into tokens(), routing() and weights(); rows of routing without a token are -1. */
        void writeBatch(EpBuffers buffers, CudaStream stream);

        /** Enqueues kernels that read received() and expertCounts(), and write expertOutputs(). */
        void experts(EpBuffers buffers, CudaStream stream);

        /** Enqueues what follows the layer; combined() has its result. */
        void readResult(EpBuffers buffers, CudaStream stream);
    }

    static void serve(Bootstrap ranks, EpGroupConfig config, int hidden, Server server) {
        CudaDevice device = ranks.device();
        try (Communicator comm = Communicator.init(ranks, device);
                CudaStream stream = CudaStream.create(device);
                EpGroup group = EpGroup.create(comm, config);
                EpHandle handle = group.createHandle();
                EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(hidden, DataType.BFLOAT16))) {

            handle.warmUp(buffers, buffers.maxTokens(), stream); // loads what a capture must not
            try (CudaGraph graph = stream.capture(() -> {
                handle.dispatchAsync(buffers, buffers.maxTokens(), stream);
                server.experts(buffers, stream);
                handle.combineAsync(buffers, stream);
            }); CudaGraphExec step = graph.instantiate()) {
                while (server.nextBatch()) {
                    server.writeBatch(buffers, stream);
                    step.launch(stream); // one native call
                    server.readResult(buffers, stream);
                }
            }
        }
    }
}
