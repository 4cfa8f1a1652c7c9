package io.nccl4j.examples.moe.kernels;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaKernel;
import io.nccl4j.cuda.CudaModule;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.Dim3;
import io.nccl4j.cuda.KernelArguments;
import io.nccl4j.examples.moe.model.ModelConfig;
import org.jspecify.annotations.Nullable;

/**
 * The kernels of {@code moe.cu}, one method each, with the launch shapes that they were written for. Capturable; used
 * by one thread, that of the rank.
 */
public final class ModelKernels implements AutoCloseable {
    private static final int TILE = 16;
    private static final Dim3 DENSE_BLOCK = Dim3.of(256);
    private static final Dim3 EXPERT_BLOCK = Dim3.of(128);
    private static final Dim3 NORM_BLOCK = Dim3.of(256);
    private static final int HEADS_PER_BLOCK = 4;
    private static final int GROUP = 8;

    /** A kernel with the arguments that are changed in place for each launch. */
    private record Launch(CudaKernel kernel, KernelArguments arguments) {
        static Launch of(CudaModule module, String name) {
            CudaKernel kernel = module.kernel(name);
            return new Launch(kernel, kernel.arguments());
        }

        void run(CudaStream stream, Dim3 grid, Dim3 block) {
            kernel.launch(stream, grid, block, arguments);
        }
    }

    private final ModelConfig model;
    private final int context;
    private final CudaModule module;
    private final Launch seedWeights;
    private final Launch embed;
    private final Launch addNorm;
    private final Launch denseBf16;
    private final Launch denseF32;
    private final Launch rotateAndCache;
    private final Launch attention;
    private final Launch route;
    private final Launch expertGateUp;
    private final Launch expertDown;
    private final Launch sample;

    private ModelKernels(ModelConfig model, int context, CudaModule module) {
        this.model = model;
        this.context = context;
        this.module = module;
        this.seedWeights = Launch.of(module, "seed_weights");
        this.embed = Launch.of(module, "embed");
        this.addNorm = Launch.of(module, "add_norm");
        this.denseBf16 = Launch.of(module, "dense_bf16");
        this.denseF32 = Launch.of(module, "dense_f32");
        this.rotateAndCache = Launch.of(module, "rotate_and_cache");
        this.attention = Launch.of(module, "attention");
        this.route = Launch.of(module, "route");
        this.expertGateUp = Launch.of(module, "expert_gate_up");
        this.expertDown = Launch.of(module, "expert_down");
        this.sample = Launch.of(module, "sample");
    }

    /**
     * Loads all of them onto the device.
     *
     * @param context positions of a sequence's cache
     */
    public static ModelKernels load(ModelConfig model, int context, CudaDevice device) {
        CudaModule module = KernelImage.load(device);
        boolean done = false;
        try {
            ModelKernels kernels = new ModelKernels(model, context, module);
            done = true;
            return kernels;
        } finally {
            if (!done) {
                module.close();
            }
        }
    }

    /** The hashed values of a seed; see {@code WeightHash.weight}. */
    public void seedWeights(CudaStream stream, DeviceMemory out, long count, long seed, float scale, float offset) {
        seedWeights.arguments.setAddress(0, out).setLong(1, count).setLong(2, seed).setFloat(3, scale).setFloat(4,
                offset);
        seedWeights.run(stream, Dim3.of((int) Math.min(4096, (count + 255) / 256)), Dim3.of(256));
    }

    /** Rows of the embedding, zeros where there is no token. */
    public void embed(CudaStream stream, int rows, RowInputs inputs, DeviceMemory table, DeviceMemory x) {
        embed.arguments.setInt(0, rows).setAddress(1, inputs.tokens()).setAddress(2, inputs.slots())
                .setAddress(3, table).setInt(4, model.hidden()).setAddress(5, x);
        embed.run(stream, Dim3.of(rows), NORM_BLOCK);
    }

    /** {@code x += delta; out = norm(x) * weight}; without a delta only the norm. */
    public void addNorm(CudaStream stream, int rows, DeviceMemory x, @Nullable DeviceMemory delta, DeviceMemory weight,
            DeviceMemory out) {
        addNorm.arguments.setInt(0, rows).setAddress(1, x).setAddress(3, weight).setFloat(4, model.epsilon())
                .setInt(5, model.hidden()).setAddress(6, out);
        if (delta == null) {
            addNorm.arguments.setLong(2, 0);
        } else {
            addNorm.arguments.setAddress(2, delta);
        }
        addNorm.run(stream, Dim3.of(rows), NORM_BLOCK);
    }

    /** {@code out[rows, columns] = in[rows, k] * weight[columns, k]^T}, in bfloat16. */
    public void denseBf16(CudaStream stream, int rows, DeviceMemory in, DeviceMemory weight, int columns, int k,
            DeviceMemory out) {
        dense(denseBf16, stream, rows, in, weight, columns, k, out);
    }

    /** The same with float32 results. */
    public void denseF32(CudaStream stream, int rows, DeviceMemory in, DeviceMemory weight, int columns, int k,
            DeviceMemory out) {
        dense(denseF32, stream, rows, in, weight, columns, k, out);
    }

    private static void dense(Launch launch, CudaStream stream, int rows, DeviceMemory in, DeviceMemory weight,
            int columns, int k, DeviceMemory out) {
        launch.arguments.setInt(0, rows).setAddress(1, in).setAddress(2, weight).setInt(3, columns).setInt(4, k)
                .setAddress(5, out);
        launch.run(stream, Dim3.of(columns / TILE), DENSE_BLOCK);
    }

    /** Norm and rotation of queries and keys in place; keys and values into the cache. */
    public void rotateAndCache(CudaStream stream, int rows, RowInputs inputs, DeviceMemory qkv, DeviceMemory queryNorm,
            DeviceMemory keyNorm, DeviceMemory rotations, DeviceMemory keys, DeviceMemory values) {
        rotateAndCache.arguments.setInt(0, rows).setAddress(1, qkv).setAddress(2, queryNorm).setAddress(3, keyNorm)
                .setAddress(4, rotations).setFloat(5, model.epsilon()).setAddress(6, inputs.slots())
                .setAddress(7, inputs.positions()).setInt(8, model.heads()).setInt(9, model.kvHeads())
                .setInt(10, context).setAddress(11, keys).setAddress(12, values);
        int heads = model.heads() + 2 * model.kvHeads();
        rotateAndCache.run(stream, Dim3.of(rows, (heads + HEADS_PER_BLOCK - 1) / HEADS_PER_BLOCK), Dim3.of(128));
    }

    /** Attention of each row over its sequence's cache, {@code out[rows, heads, headSize]}. */
    public void attention(CudaStream stream, int rows, RowInputs inputs, DeviceMemory qkv, DeviceMemory keys,
            DeviceMemory values, DeviceMemory out) {
        attention.arguments.setInt(0, rows).setAddress(1, qkv).setAddress(2, keys).setAddress(3, values)
                .setAddress(4, inputs.slots()).setAddress(5, inputs.positions()).setInt(6, model.heads())
                .setInt(7, model.kvHeads()).setInt(8, context).setAddress(9, out);
        int shared = model.heads() / model.kvHeads();
        attention.run(stream, Dim3.of(rows, model.kvHeads(), (shared + GROUP - 1) / GROUP), Dim3.of(256));
    }

    /** The best experts of each row and their weights; rows without a token are routed to -1. */
    public void route(CudaStream stream, int rows, RowInputs inputs, DeviceMemory logits, DeviceMemory routing,
            DeviceMemory weights) {
        route.arguments.setInt(0, rows).setAddress(1, logits).setAddress(2, inputs.slots()).setInt(3, model.experts())
                .setInt(4, model.topK()).setInt(5, model.renormalise() ? 1 : 0).setAddress(6, routing)
                .setAddress(7, weights);
        route.run(stream, Dim3.of((rows + 3) / 4), Dim3.of(128));
    }

    /** {@code activated = silu(received * gate^T) * (received * up^T)} for the rows in use of each expert. */
    public void expertGateUp(CudaStream stream, DeviceMemory counts, DeviceMemory received, int localExperts,
            int capacity, DeviceMemory gate, DeviceMemory up, DeviceMemory activated) {
        expertGateUp.arguments.setAddress(0, counts).setAddress(1, received).setInt(2, capacity).setAddress(3, gate)
                .setAddress(4, up).setInt(5, model.expertWidth()).setInt(6, model.hidden()).setAddress(7, activated);
        expertGateUp.run(stream, Dim3.of(model.expertWidth() / TILE, localExperts), EXPERT_BLOCK);
    }

    /** {@code outputs = activated * down^T} for the rows in use of each expert. */
    public void expertDown(CudaStream stream, DeviceMemory counts, DeviceMemory activated, int localExperts,
            int capacity, DeviceMemory down, DeviceMemory outputs) {
        expertDown.arguments.setAddress(0, counts).setAddress(1, activated).setInt(2, capacity).setAddress(3, down)
                .setInt(4, model.hidden()).setInt(5, model.expertWidth()).setAddress(6, outputs);
        expertDown.run(stream, Dim3.of(model.hidden() / (2 * TILE), localExperts), EXPERT_BLOCK);
    }

    /** The next token of each row, -1 where there is none. */
    public void sample(CudaStream stream, int rows, RowInputs inputs, DeviceMemory logits, DeviceMemory sampled) {
        sample.arguments.setInt(0, rows).setAddress(1, logits).setInt(2, model.vocabulary())
                .setAddress(3, inputs.slots()).setAddress(4, inputs.positions()).setAddress(5, inputs.temperatures())
                .setAddress(6, inputs.seeds()).setAddress(7, sampled);
        sample.run(stream, Dim3.of(rows), Dim3.of(1024));
    }

    @Override
    public void close() {
        module.close();
    }
}
