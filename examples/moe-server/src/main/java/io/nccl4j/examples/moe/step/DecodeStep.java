package io.nccl4j.examples.moe.step;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.examples.moe.kernels.ModelKernels;
import io.nccl4j.examples.moe.kernels.Projections;
import io.nccl4j.examples.moe.kernels.RowInputs;
import io.nccl4j.examples.moe.model.ModelConfig;
import io.nccl4j.examples.moe.weights.LayerWeights;
import io.nccl4j.examples.moe.weights.ModelWeights;

/**
 * One step of the model on a rank's rows, from tokens to sampled tokens, part by part in the order in which they are
 * enqueued. A row is a token of a sequence at its position: the newest one when decoding, one of a chunk of the prompt
 * before that. Nothing here waits, allocates or reads on the host, so that all of it can be captured.
 */
final class DecodeStep implements AutoCloseable {
    /** How the tokens of a layer reach their experts, and the experts' outputs come home. */
    interface Exchange {
        void dispatch(CudaStream stream);

        void combine(CudaStream stream);
    }

    private final ModelConfig model;
    private final ModelWeights weights;
    private final ModelKernels kernels;
    private final Projections projections;
    private final EpBuffers buffers;
    private final RowInputs inputs;
    private final StepMemory memory;
    private final KeyValueCache cache;
    private final PinnedMemory sampled;
    private final int capacity;

    DecodeStep(ModelConfig model, ModelWeights weights, ModelKernels kernels, Projections projections,
            EpBuffers buffers, RowInputs inputs, StepMemory memory, KeyValueCache cache) {
        this.model = model;
        this.weights = weights;
        this.kernels = kernels;
        this.projections = projections;
        this.buffers = buffers;
        this.inputs = inputs;
        this.memory = memory;
        this.cache = cache;
        this.capacity = Math.toIntExact(buffers.received().shape()[1]);
        this.sampled = PinnedMemory.allocate(memory.sampled.device(), memory.sampled.byteSize());
    }

    int layers() {
        return model.layers();
    }

    /** All of it. */
    void enqueue(int rows, Exchange exchange, CudaStream stream) {
        begin(rows, stream);
        for (int layer = 0; layer < model.layers(); layer++) {
            attention(layer, rows, stream);
            exchange.dispatch(stream);
            experts(layer, stream);
            exchange.combine(stream);
        }
        end(rows, stream);
    }

    /** The rows' inputs to the device, and their tokens' embeddings. */
    void begin(int rows, CudaStream stream) {
        inputs.copy(stream);
        kernels.embed(stream, rows, inputs, weights.embedding(), memory.residual);
    }

    /** Attention, then the routing and the tokens that are dispatched. */
    void attention(int layer, int rows, CudaStream stream) {
        LayerWeights w = weights.layer(layer);
        int hidden = model.hidden();
        DeviceMemory delta = layer == 0 ? null : buffers.combined().memory();
        kernels.addNorm(stream, rows, memory.residual, delta, w.attentionNorm(), memory.normed);
        projections.bf16(stream, rows, memory.normed, w.qkv(), model.qkvWidth(), hidden, memory.qkv);
        kernels.rotateAndCache(stream, rows, inputs, memory.qkv, w.queryNorm(), w.keyNorm(), memory.rotations,
                cache.keys(layer), cache.values(layer));
        kernels.attention(stream, rows, inputs, memory.qkv, cache.keys(layer), cache.values(layer), memory.attended);
        projections.bf16(stream, rows, memory.attended, w.output(), hidden, model.queryWidth(), memory.projected);
        DeviceMemory tokens = buffers.tokens().memory();
        kernels.addNorm(stream, rows, memory.residual, memory.projected, w.expertNorm(), tokens);
        projections.f32(stream, rows, tokens, w.router(), model.experts(), hidden, memory.routerLogits);
        kernels.route(stream, rows, inputs, memory.routerLogits, buffers.routing().memory(),
                buffers.weights().memory());
    }

    /** By the one handle that all layers share. */
    Exchange exchange(int rows) {
        return new Exchange() {
            @Override
            public void dispatch(CudaStream stream) {
                buffers.handle().dispatchAsync(buffers, rows, stream);
            }

            @Override
            public void combine(CudaStream stream) {
                buffers.handle().combineAsync(buffers, stream);
            }
        };
    }

    /** By a handle for every layer. */
    HandlePerLayer handlePerLayer(int rows) {
        return new HandlePerLayer(buffers, rows);
    }

    /** The local experts on the rows that they have received; how many those are is read on the device. */
    void experts(int layer, CudaStream stream) {
        LayerWeights w = weights.layer(layer);
        DeviceMemory counts = buffers.expertCounts().memory();
        kernels.expertGateUp(stream, counts, buffers.received().memory(), weights.localExperts(), capacity, w.gate(),
                w.up(), memory.activated);
        kernels.expertDown(stream, counts, memory.activated, weights.localExperts(), capacity, w.down(),
                buffers.expertOutputs().memory());
    }

    /** The head and the next tokens, which are all that the host reads. */
    void end(int rows, CudaStream stream) {
        kernels.addNorm(stream, rows, memory.residual, buffers.combined().memory(), weights.finalNorm(), memory.normed);
        projections.f32(stream, rows, memory.normed, weights.head(), model.vocabulary(), model.hidden(), memory.logits);
        kernels.sample(stream, rows, inputs, memory.logits, memory.sampled);
        memory.sampled.copyToAsync(sampled, (long) rows * Integer.BYTES, stream);
    }

    /** Where the sampled tokens are when the step is done, int32 {@code [rows]}. */
    PinnedMemory sampled() {
        return sampled;
    }

    /** Logits of the last step, float32 {@code [rows, vocabulary]}. */
    DeviceMemory logits() {
        return memory.logits;
    }

    @Override
    public void close() {
        sampled.close();
    }
}
