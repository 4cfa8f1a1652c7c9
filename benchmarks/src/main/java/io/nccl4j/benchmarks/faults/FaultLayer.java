package io.nccl4j.benchmarks.faults;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.BFloat16;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.testing.HostMirror;
import io.nccl4j.testing.LayerKind;
import java.lang.foreign.MemorySegment;
import java.util.function.UnaryOperator;

/**
 * A layer in which each token goes to an expert of every rank, and every expert answers with ones. In low latency
 * EXPERT_MAJOR, rank r's answer has the weight r + 1: with both of two ranks, tokens come home as 3, without rank 1 as
 * 1.
 */
final class FaultLayer implements AutoCloseable {
    private static final int TOKENS = 16;
    private static final int HIDDEN = 2048;
    private static final int LOCAL_EXPERTS = 4;

    private final CudaStream stream;
    final EpGroup group;
    private final EpHandle handle;
    private final EpBuffers buffers;

    /** Collective. */
    FaultLayer(Communicator communicator, CudaStream stream, LayerKind kind, UnaryOperator<EpGroupConfig> more) {
        this.stream = stream;
        int ranks = communicator.size();
        EpShape shape = new EpShape(ranks, ranks * LOCAL_EXPERTS, ranks, TOKENS);
        EpGroupConfig config = kind.config(shape, HIDDEN * Short.BYTES);
        group = EpGroup.create(communicator,
                more.apply(kind.isLowLatency() ? config : config.maxReceiveRows(ranks * TOKENS)));
        handle = group.createHandle();
        buffers = handle.allocateBuffers(BufferConfig.of(HIDDEN, DataType.BFLOAT16));
        try (HostMirror routing = new HostMirror(buffers.routing());
                HostMirror weights = new HostMirror(buffers.weights());
                HostMirror answers = new HostMirror(buffers.expertOutputs())) {
            for (int at = 0; at < TOKENS * ranks; at++) {
                int rank = at % ranks;
                routing.host().setAtIndex(JAVA_LONG, at, rank * LOCAL_EXPERTS + at / ranks % LOCAL_EXPERTS);
                weights.host().setAtIndex(JAVA_FLOAT, at, rank + 1);
            }
            MemorySegment ones = answers.host();
            for (long at = 0; at < ones.byteSize() / Short.BYTES; at++) {
                ones.setAtIndex(JAVA_SHORT, at, BFloat16.fromFloat(1));
            }
            routing.toDevice(stream);
            weights.toDevice(stream);
            answers.toDevice(stream);
            handle.warmUp(buffers, TOKENS, stream);
        }
    }

    /** Dispatch and combine. */
    void enqueue() {
        handle.dispatchAsync(buffers, TOKENS, stream);
        handle.combineAsync(buffers, stream);
    }

    /** The value of all elements that came home; NaN if they are not the same. */
    float combined() {
        try (HostMirror rows = new HostMirror(buffers.combined())) {
            rows.toHost(stream);
            stream.synchronize();
            short first = rows.host().get(JAVA_SHORT, 0);
            for (long at = 0; at < rows.host().byteSize() / Short.BYTES; at++) {
                if (rows.host().getAtIndex(JAVA_SHORT, at) != first) {
                    return Float.NaN;
                }
            }
            return BFloat16.toFloat(first);
        }
    }

    @Override
    public void close() {
        buffers.close();
        handle.close();
        group.close();
    }
}
