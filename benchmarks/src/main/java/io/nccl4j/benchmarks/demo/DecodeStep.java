package io.nccl4j.benchmarks.demo;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.benchmarks.ranks.HostMirror;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.BFloat16;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpTensor;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * One decode step of a rank: its tokens through all layers. {@link #enqueue} is the whole of it, whether it runs at once or is
 * captured; tokens and their number are read when the work runs, so that a graph serves other tokens at every replay.
 */
final class DecodeStep implements AutoCloseable {
    private static final byte STALE = 0x5a;

    private final DemoOptions options;
    private final MoeModel model;
    private final EpBuffers buffers;
    private final ExpertStage experts;
    private final HostMirror routing;
    private final HostMirror weights;
    private final DeviceMemory tokens;
    private final DeviceMemory combined;
    /** The rows before layer 0, 1, ... and, last, those after the last layer. */
    private final List<PinnedMemory> rows = new ArrayList<>();
    private volatile int batch;

    DecodeStep(DemoOptions options, MoeModel model, ExpertStage experts, EpBuffers buffers) {
        this.options = options;
        this.model = model;
        this.experts = experts;
        this.buffers = buffers;
        CudaDevice device = buffers.handle().group().device();
        routing = new HostMirror(buffers.routing(), device);
        weights = new HostMirror(buffers.weights(), device);
        tokens = buffers.tokens().memory();
        combined = buffers.combined().memory();
        for (int layer = 0; layer <= options.layers(); layer++) {
            rows.add(PinnedMemory.allocate(device, buffers.tokens().byteSize()));
        }
    }

    /** Puts the tokens of the next step into place; no step may be running. */
    void setTokens(float[][] next) {
        batch = next.length;
        for (int token = 0; token < next.length; token++) {
            BFloat16.write(next[token], rows.getFirst().segment(), (long) token * options.hidden());
        }
    }

    /**
     * Enqueues the step.
     *
     * @param count tokens that the step has room for; those beyond the batch go nowhere
     */
    void enqueue(int count, CudaStream stream) {
        long rowBytes = (long) count * options.hidden() * Short.BYTES;
        for (int layer = 0; layer < options.layers(); layer++) {
            MoeModel.Layer moe = model.layers().get(layer);
            PinnedMemory inputs = rows.get(layer);
            stream.launchHostFunction(() -> route(moe.router(), inputs.segment(), count));
            tokens.copyFromAsync(inputs, rowBytes, stream);
            routing.toDevice((long) count * options.topK() * Long.BYTES, stream);
            weights.toDevice((long) count * options.topK() * Float.BYTES, stream);
            buffers.handle().dispatchAsync(buffers, count, stream);
            experts.enqueue(moe.experts(), stream);
            buffers.handle().combineAsync(buffers, stream);
            combined.copyToAsync(rows.get(layer + 1), rowBytes, stream);
        }
    }

    /** Overwrites what a step leaves behind, so that nothing of it can pass for the next one's; no step may be running. */
    void spoil(CudaStream stream) {
        for (EpTensor tensor : List.of(buffers.received(), buffers.expertOutputs(), buffers.combined())) {
            tensor.memory().fillAsync(STALE, stream);
        }
        rows.subList(1, rows.size()).forEach(outputs -> outputs.segment().fill(STALE));
    }

    private void route(Router router, MemorySegment inputs, int count) {
        float[] token = new float[options.hidden()];
        int[] chosen = new int[options.topK()];
        float[] share = new float[options.topK()];
        for (int i = 0; i < count; i++) {
            boolean real = i < batch;
            if (real) {
                BFloat16.read(inputs, (long) i * options.hidden(), token);
                router.route(token, chosen, share);
            }
            for (int k = 0; k < options.topK(); k++) {
                long at = (long) i * options.topK() + k;
                routing.host().setAtIndex(JAVA_LONG, at, real ? chosen[k] : -1);
                weights.host().setAtIndex(JAVA_FLOAT, at, real ? share[k] : 0);
            }
        }
    }

    /** The batch's rows before a layer, or after the last one; the step must have ended. */
    byte[][] rows(int layer) {
        int rowBytes = options.hidden() * Short.BYTES;
        byte[][] copy = new byte[batch][rowBytes];
        for (int token = 0; token < batch; token++) {
            MemorySegment.copy(rows.get(layer).segment(), JAVA_BYTE, (long) token * rowBytes, copy[token], 0, rowBytes);
        }
        return copy;
    }

    @Override
    public void close() {
        rows.forEach(PinnedMemory::close);
        weights.close();
        routing.close();
    }
}
