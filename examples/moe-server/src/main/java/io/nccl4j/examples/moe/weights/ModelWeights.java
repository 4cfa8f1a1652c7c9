package io.nccl4j.examples.moe.weights;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.examples.moe.model.ModelConfig;
import java.util.ArrayList;
import java.util.List;

/** All weights of a rank: everything but experts, and its own share of those. */
public final class ModelWeights implements AutoCloseable {
    private final ModelConfig model;
    private final WeightSource source;
    private final CudaStream stream;
    private final int firstExpert;
    private final int localExperts;
    private final List<DeviceMemory> owned = new ArrayList<>();
    private final List<LayerWeights> layers = new ArrayList<>();
    private final DeviceMemory embedding;
    private final DeviceMemory finalNorm;
    private final DeviceMemory head;

    private ModelWeights(ModelConfig model, WeightSource source, int rank, int ranks, CudaStream stream) {
        this.model = model;
        this.source = source;
        this.stream = stream;
        this.localExperts = model.experts() / ranks;
        this.firstExpert = rank * localExperts;
        boolean done = false;
        try {
            int hidden = model.hidden();
            embedding = load(WeightNames.EMBEDDING, model.vocabulary(), hidden);
            finalNorm = load(WeightNames.FINAL_NORM, hidden);
            head = model.tied() ? embedding : load(WeightNames.HEAD, model.vocabulary(), hidden);
            for (int layer = 0; layer < model.layers(); layer++) {
                layers.add(layer(layer));
            }
            stream.synchronize();
            done = true;
        } finally {
            if (!done) {
                close();
            }
        }
    }

    /** Loads the share of a rank and waits until it is there. */
    public static ModelWeights load(ModelConfig model, WeightSource source, int rank, int ranks, CudaStream stream) {
        return new ModelWeights(model, source, rank, ranks, stream);
    }

    private LayerWeights layer(int layer) {
        int hidden = model.hidden();
        int width = model.expertWidth();
        return new LayerWeights(load(WeightNames.layer(layer, "input_layernorm"), hidden), qkv(layer),
                load(WeightNames.layer(layer, "self_attn.q_norm"), model.headSize()),
                load(WeightNames.layer(layer, "self_attn.k_norm"), model.headSize()),
                load(WeightNames.layer(layer, "self_attn.o_proj"), hidden, model.queryWidth()),
                load(WeightNames.layer(layer, "post_attention_layernorm"), hidden),
                load(WeightNames.layer(layer, "mlp.gate"), model.experts(), hidden),
                experts(layer, "gate_proj", width, hidden), experts(layer, "up_proj", width, hidden),
                experts(layer, "down_proj", hidden, width));
    }

    private DeviceMemory qkv(int layer) {
        long hidden = model.hidden();
        long queries = model.queryWidth();
        long keys = (long) model.kvHeads() * model.headSize();
        DeviceMemory all = allocate((queries + 2 * keys) * hidden);
        part(WeightNames.layer(layer, "self_attn.q_proj"), all, 0, queries, hidden);
        part(WeightNames.layer(layer, "self_attn.k_proj"), all, queries * hidden, keys, hidden);
        part(WeightNames.layer(layer, "self_attn.v_proj"), all, (queries + keys) * hidden, keys, hidden);
        return all;
    }

    private DeviceMemory experts(int layer, String name, long columns, long k) {
        DeviceMemory all = allocate(localExperts * columns * k);
        for (int expert = 0; expert < localExperts; expert++) {
            part(WeightNames.expert(layer, firstExpert + expert, name), all, expert * columns * k, columns, k);
        }
        return all;
    }

    private DeviceMemory load(String name, long... shape) {
        DeviceMemory memory = allocate(WeightSource.elements(shape));
        source.load(name, memory, stream, shape);
        return memory;
    }

    private void part(String name, DeviceMemory whole, long first, long... shape) {
        long bytes = WeightSource.elements(shape) * Short.BYTES;
        try (DeviceMemory part = whole.slice(first * Short.BYTES, bytes)) {
            source.load(name, part, stream, shape);
        }
    }

    private DeviceMemory allocate(long elements) {
        DeviceMemory memory = DeviceMemory.allocate(stream.device(), elements * Short.BYTES);
        owned.add(memory);
        return memory;
    }

    public LayerWeights layer(long index) {
        return layers.get(Math.toIntExact(index));
    }

    /** {@code [vocabulary, hidden]}. */
    public DeviceMemory embedding() {
        return embedding;
    }

    /** {@code [hidden]}. */
    public DeviceMemory finalNorm() {
        return finalNorm;
    }

    /** {@code [vocabulary, hidden]}. */
    public DeviceMemory head() {
        return head;
    }

    /** Experts of this rank. */
    public int localExperts() {
        return localExperts;
    }

    @Override
    public void close() {
        owned.forEach(DeviceMemory::close);
    }
}
