package io.nccl4j.benchmarks.demo;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.BFloat16;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.testing.HostMirror;
import io.nccl4j.testing.LayerRows;
import io.nccl4j.testing.MoeLayer;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * One decode step of a rank: its tokens through all layers, which take turns on the same buffers. {@link #enqueue} is
 * the whole of it, whether it runs at once or is captured; tokens and their number are read when the work runs, so that
 * a graph serves other tokens at every replay.
 */
final class DecodeStep implements AutoCloseable {
    private final MoeModel model;
    private final MoeLayer layer;
    private final EpBuffers buffers;
    private final int hidden;
    private final int topK;
    private final HostMirror routing;
    private final HostMirror weights;
    /** The rows before layer 0, 1, ... and, last, those after the last layer. */
    private final List<PinnedMemory> rows = new ArrayList<>();
    private volatile int batch;

    DecodeStep(DemoOptions.Plan plan, MoeModel model, MoeLayer layer) {
        this.model = model;
        this.layer = layer;
        buffers = layer.buffers();
        hidden = plan.hidden();
        topK = plan.shape().topK();
        routing = new HostMirror(buffers.routing());
        weights = new HostMirror(buffers.weights());
        for (int i = 0; i <= plan.layers(); i++) {
            rows.add(PinnedMemory.allocate(buffers.tokens().memory().device(), buffers.tokens().byteSize()));
        }
    }

    /** Puts the tokens of the next step into place; no step may be running. */
    void setTokens(float[][] next) {
        batch = next.length;
        for (int token = 0; token < next.length; token++) {
            BFloat16.write(next[token], rows.getFirst().segment(), (long) token * hidden);
        }
    }

    /**
     * Enqueues the step.
     *
     * @param count tokens that the step has room for; those beyond the batch go nowhere
     */
    void enqueue(int count, CudaStream stream) {
        long rowBytes = (long) count * hidden * Short.BYTES;
        for (int i = 0; i < model.layers().size(); i++) {
            MoeModel.Layer moe = model.layers().get(i);
            PinnedMemory inputs = rows.get(i);
            stream.launchHostFunction(() -> route(moe.router(), inputs.segment(), count));
            buffers.tokens().memory().copyFromAsync(inputs, rowBytes, stream);
            routing.toDevice((long) count * topK * Long.BYTES, stream);
            weights.toDevice((long) count * topK * Float.BYTES, stream);
            buffers.handle().dispatchAsync(buffers, count, stream);
            layer.experts(moe.experts());
            buffers.handle().combineAsync(buffers, stream);
            buffers.combined().memory().copyToAsync(rows.get(i + 1), rowBytes, stream);
        }
    }

    /**
     * Overwrites what a step leaves behind, so that nothing of it can pass for the next one's; no step may be running.
     */
    void spoil(CudaStream stream) {
        layer.spoil();
        rows.subList(1, rows.size()).forEach(outputs -> outputs.segment().fill(LayerRows.UNTOUCHED));
    }

    private void route(Router router, MemorySegment inputs, int count) {
        float[] token = new float[hidden];
        int[] chosen = new int[topK];
        float[] share = new float[topK];
        for (int i = 0; i < count; i++) {
            boolean real = i < batch;
            if (real) {
                BFloat16.read(inputs, (long) i * hidden, token);
                router.route(token, chosen, share);
            }
            for (int k = 0; k < topK; k++) {
                long at = (long) i * topK + k;
                routing.host().setAtIndex(JAVA_LONG, at, real ? chosen[k] : -1);
                weights.host().setAtIndex(JAVA_FLOAT, at, real ? share[k] : 0);
            }
        }
    }

    /** The batch's rows before a layer, or after the last one; the step must have ended. */
    byte[][] rows(int before) {
        int rowBytes = hidden * Short.BYTES;
        byte[][] copy = new byte[batch][rowBytes];
        for (int token = 0; token < batch; token++) {
            MemorySegment.copy(rows.get(before).segment(), JAVA_BYTE, (long) token * rowBytes, copy[token], 0,
                    rowBytes);
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
