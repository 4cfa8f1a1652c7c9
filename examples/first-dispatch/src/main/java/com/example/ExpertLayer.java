package com.example;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaKernel;
import io.nccl4j.cuda.CudaModule;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.Dim3;
import io.nccl4j.cuda.KernelArguments;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.Layout;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;

/** A MoE layer of one rank as a graph: tokens from the host, experts on the device, results back to the host. */
public class ExpertLayer {
    static final int EXPERTS = 4;
    static final int TOP_K = 2;
    static final int TOKENS = 3;
    static final int HIDDEN = 512;

    /** On GPUs: {@code ExpertLayer experts.fatbin}, once per rank. */
    public static void main(String[] args) throws IOException {
        byte[] image = Files.readAllBytes(Path.of(args[0]));
        try (Bootstrap ranks = Bootstraps.fromEnvironment()) {
            System.out.println("rank " + ranks.rank() + " has " + Arrays.toString(run(ranks, image, 2)));
        }
    }

    /** Token t has the value t + 1, and goes to experts 0 and t + 1, with weights 1/4 and 3/4. */
    static float[] run(Bootstrap ranks, byte[] image, int steps) {
        EpGroupConfig config = EpGroupConfig.lowLatency().experts(EXPERTS).maxTokensPerRank(TOKENS)
                .maxTokenBytes(HIDDEN * Float.BYTES).layout(Layout.EXPERT_MAJOR).topK(TOP_K);
        try (Communicator comm = Communicator.init(ranks, ranks.device());
                CudaStream stream = CudaStream.create(comm.device());
                CudaModule module = CudaModule.load(comm.device(), image);
                EpGroup group = EpGroup.create(comm, config);
                EpHandle handle = group.createHandle();
                EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(HIDDEN, DataType.FLOAT32));
                PinnedMemory tokens = PinnedMemory.allocate(comm.device(), buffers.tokens().byteSize());
                PinnedMemory routing = PinnedMemory.allocate(comm.device(), buffers.routing().byteSize());
                PinnedMemory weights = PinnedMemory.allocate(comm.device(), buffers.weights().byteSize());
                PinnedMemory combined = PinnedMemory.allocate(comm.device(), buffers.combined().byteSize())) {

            int localExperts = EXPERTS / comm.size();
            CudaKernel experts = module.kernel("scale_rows");
            KernelArguments arguments = experts.arguments().setAddress(0, buffers.received().memory())
                    .setAddress(1, buffers.expertOutputs().memory()).setAddress(2, buffers.expertCounts().memory())
                    .setInt(3, comm.rank() * localExperts).setInt(4, HIDDEN);
            Dim3 grid = Dim3.of(comm.size() * TOKENS, localExperts); // a block for each row that may come

            handle.warmUp(buffers, TOKENS, stream);
            try (CudaGraph graph = stream.capture(() -> {
                buffers.tokens().memory().copyFromAsync(tokens, tokens.byteSize(), stream);
                buffers.routing().memory().copyFromAsync(routing, routing.byteSize(), stream);
                buffers.weights().memory().copyFromAsync(weights, weights.byteSize(), stream);
                handle.dispatchAsync(buffers, TOKENS, stream);
                experts.launch(stream, grid, Dim3.of(128), arguments);
                handle.combineAsync(buffers, stream);
                buffers.combined().memory().copyToAsync(combined, combined.byteSize(), stream);
            }); CudaGraphExec step = graph.instantiate()) {
                for (int i = 0; i < steps; i++) {
                    for (int t = 0; t < TOKENS; t++) {
                        tokens.segment().asSlice(t * HIDDEN * 4L, HIDDEN * 4L).fill((byte) 0);
                        tokens.segment().setAtIndex(JAVA_FLOAT, (long) t * HIDDEN, t + 1);
                        routing.segment().setAtIndex(JAVA_LONG, t * TOP_K, 0);
                        routing.segment().setAtIndex(JAVA_LONG, t * TOP_K + 1, t + 1);
                        weights.segment().setAtIndex(JAVA_FLOAT, t * TOP_K, 0.25f);
                        weights.segment().setAtIndex(JAVA_FLOAT, t * TOP_K + 1, 0.75f);
                    }
                    step.launch(stream); // one native call
                    stream.await(Duration.ofSeconds(10)); // before the host reads, or writes again
                }
            }
            float[] first = new float[TOKENS];
            for (int t = 0; t < TOKENS; t++) {
                first[t] = combined.segment().getAtIndex(JAVA_FLOAT, (long) t * HIDDEN);
            }
            return first;
        }
    }
}
