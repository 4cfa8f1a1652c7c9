package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.NativeObject;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Ownership;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.function.LongFunction;
import org.jspecify.annotations.Nullable;

/**
 * All device tensors of a MoE layer's dispatch and combine, at maximum capacity and at addresses that never change, so
 * that graphs can be captured over them. New tokens, weights and routing are written into the same memory, in stream
 * order. The tensors keep their maximum shape: how many rows one call uses is that call's affair.
 *
 * <p>Belongs to a handle and its thread. What lies in unused rows is unspecified.
 */
public final class EpBuffers extends NativeObject {
    private final EpHandle handle;
    private final BufferConfig config;
    private final BufferMemory memory;
    /** Given to C; null without a recipe. */
    private final @Nullable DispatchConfig dispatchConfig;
    private final @Nullable CombineConfig combineConfig;
    /** Descriptors for the calls, whose rows are those of one call. */
    private final EpTensor routing;
    private final EpTensor tokens;
    private final @Nullable EpTensor scales;
    private final EpTensor weights;
    private final EpTensor combined;
    private final DispatchInputs dispatchInputs;
    private final DispatchOutputs dispatchOutputs;
    private final @Nullable LayoutInfo updateInfo;
    private final @Nullable LayoutInfo dispatchInfo;
    private final CombineInputs combineInputs;
    private final CombineOutputs combineOutputs;
    private long callTokens;

    private EpBuffers(EpHandle handle, BufferConfig config, BufferMemory memory) {
        super("EpBuffers", memory.routing.address(), handle);
        this.handle = handle;
        this.config = config;
        this.dispatchConfig = config.dispatchRecipe() == DispatchRecipe.NONE ? null : config.dispatch();
        this.combineConfig = config.combineRecipe() == CombineRecipe.NONE ? null : config.combine();
        this.memory = memory;
        Ownership.of(this).owns(memory.resources());
        Ownership.of(this).onClose(this::checkClose);
        this.routing = ofCalls(memory.routing);
        this.tokens = ofCalls(memory.tokens);
        this.scales = memory.scales == null ? null : ofCalls(memory.scales);
        this.weights = ofCalls(memory.weights);
        this.combined = ofCalls(memory.combined);
        this.callTokens = routing.rows();
        boolean lowLatency = handle.shape().isLowLatency();
        // This layout takes the weights in combine, the others in dispatch.
        boolean zones = lowLatency && handle.layout() == Layout.EXPERT_MAJOR;
        this.dispatchInputs = DispatchInputs.of(tokens, zones ? null : weights, scales);
        this.dispatchOutputs = DispatchOutputs.of(memory.received, memory.receivedWeights, memory.receivedIndices,
                memory.receivedScales);
        this.combineInputs = CombineInputs.of(memory.expertOutputs, null, memory.outputScales);
        this.combineOutputs = CombineOutputs.of(combined, zones ? weights : null);
        LayoutInfo info = LayoutInfo.of(memory.expertCounts, memory.sourceRankCounts, memory.expertOffsets,
                memory.receivedTotal);
        this.updateInfo = lowLatency ? null : info;
        this.dispatchInfo = lowLatency ? info : null;
    }

    /** The same memory once more, with a descriptor whose rows change from call to call. */
    private static EpTensor ofCalls(EpTensor tensor) {
        return EpTensor.of(tensor.memory(), tensor.type(), tensor.shape());
    }

    static EpBuffers allocate(EpHandle handle, BufferConfig config, LongFunction<DeviceMemory> source) {
        HandleShape shape = handle.shape();
        Violations violations = new Violations();
        EpSizing.checkRows(shape, config, violations);
        violations.addIf(Rule.RECEIVE_BUDGET, shape.config().isEager(),
                "an eager group sizes its outputs from counts: buffers of a fixed size need maxReceiveRows");
        violations.refuse();
        BufferMemory memory = new BufferMemory(handle.group().communicator(), LayerTensors.of(shape, config), source);
        try {
            return new EpBuffers(handle, config, memory);
        } catch (RuntimeException | Error e) {
            memory.close();
            throw e;
        }
    }

    /** {@return the handle that they belong to} */
    public EpHandle handle() {
        return handle;
    }

    /** {@return type, length and quantisation of the rows} */
    public BufferConfig config() {
        return config;
    }

    /**
     * {@return how dispatch is called on them, with their recipe: what {@link EpHandle#dispatchAsync(EpBuffers, long,
     * DispatchConfig, CudaStream)} takes for {@code null}} Add {@link DispatchConfig#sendOnly()} to it.
     */
    public DispatchConfig dispatchConfig() {
        return config.dispatch();
    }

    /** {@return how combine is called on them, with their recipe} */
    public CombineConfig combineConfig() {
        return config.combine();
    }

    /** {@return most tokens that can be dispatched at once} */
    public int maxTokens() {
        return handle.shape().maxTokens();
    }

    /**
     * {@return {@code topk_idx}, int64 or int32 {@code [maxTokens, topK]}: to be written before dispatch, -1 for none,
     * as which it begins}
     */
    public EpTensor routing() {
        return open(memory.routing);
    }

    /**
     * {@return this rank's tokens {@code [maxTokens, hidden]}, with QUANT_FWD {@code [maxTokens, tokenElements]}: to be
     * written before dispatch}
     */
    public EpTensor tokens() {
        return open(memory.tokens);
    }

    /**
     * {@return scales of this rank's tokens {@code [maxTokens, scaleElements]}: to be written before dispatch}
     *
     * @throws IllegalStateException unless the recipe of dispatch is QUANT_FWD
     */
    public EpTensor scales() {
        return present("scales of tokens", memory.scales);
    }

    /** {@return routing weights, float32 {@code [maxTokens, topK]}: to be written before dispatch} */
    public EpTensor weights() {
        return open(memory.weights);
    }

    /** {@return tokens for this rank's experts, in the shape of the layout} */
    public EpTensor received() {
        return open(memory.received);
    }

    /**
     * {@return scales of received tokens, a row for each row of {@link #received()}: {@code [..., scaleElements]}}
     *
     * @throws IllegalStateException if dispatch has no recipe
     */
    public EpTensor receivedScales() {
        return present("received scales", memory.receivedScales);
    }

    /**
     * {@return weights of received tokens, float32 {@code [ranks, maxTokens, topK]} in RANK_MAJOR, {@code [rows, topK]}
     * in FLAT, {@code [rows]} in EXPERT_MAJOR of high throughput}
     *
     * @throws IllegalStateException if the layout has none
     */
    public EpTensor receivedWeights() {
        return present("received weights", memory.receivedWeights);
    }

    /**
     * {@return local experts of received tokens, -1 for none: int32 {@code [ranks, maxTokens, topK]} in RANK_MAJOR,
     * int64 {@code [rows, topK]} in FLAT}
     *
     * @throws IllegalStateException if the layout has none
     */
    public EpTensor receivedIndices() {
        return present("received indices", memory.receivedIndices);
    }

    /**
     * {@return rows per local expert, int32 {@code [localExperts]}: on the device, for a grouped GEMM that masks by it;
     * in EXPERT_MAJOR of high throughput with the padding of its zone}
     *
     * @throws IllegalStateException in RANK_MAJOR, which has {@link #sourceRankCounts()}
     */
    public EpTensor expertCounts() {
        return present("expert counts", memory.expertCounts);
    }

    /**
     * {@return rows per source rank, int32 {@code [ranks]}}
     *
     * @throws IllegalStateException unless the layout is RANK_MAJOR
     */
    public EpTensor sourceRankCounts() {
        return present("source rank counts", memory.sourceRankCounts);
    }

    /**
     * {@return first row of each local expert's zone, int32 {@code [localExperts]}}
     *
     * @throws IllegalStateException unless the layout is EXPERT_MAJOR of high throughput
     */
    public EpTensor expertOffsets() {
        return present("expert offsets", memory.expertOffsets);
    }

    /**
     * {@return all rows received, int32 {@code [1]}}
     *
     * @throws IllegalStateException in a low-latency group
     */
    public EpTensor receivedTotal() {
        return present("received total", memory.receivedTotal);
    }

    /**
     * {@return the outputs of the experts for {@link #received()}, row by row, {@code [..., hidden]}: to be written
     * before combine}
     */
    public EpTensor expertOutputs() {
        return open(memory.expertOutputs);
    }

    /**
     * {@return a scale for each row of {@link #expertOutputs()}, float32 {@code [..., 1]}: to be written before
     * combine}
     *
     * @throws IllegalStateException unless the recipe of combine is NVFP4
     */
    public EpTensor expertOutputScales() {
        return present("scales of experts' outputs", memory.outputScales);
    }

    /** {@return this rank's tokens after combine {@code [maxTokens, hidden]}} */
    public EpTensor combined() {
        return open(memory.combined);
    }

    /**
     * Copies {@link #expertCounts()}, or {@link #sourceRankCounts()}, to the host when the work on {@code stream} is
     * done. For tests and debugging: it waits, which a decode loop must not do.
     *
     * @param stream the stream that the work is enqueued on
     * @return rows per local expert, or per source rank
     */
    public int[] readCountsForDebug(CudaStream stream) {
        CaptureScope.refuse("EpBuffers.readCountsForDebug",
                "counts stay on the device: give expertCounts() to the experts' kernels");
        address();
        handle.group().checkCall(stream);
        stream.synchronize();
        EpTensor counts = memory.expertCounts != null ? memory.expertCounts : sourceRankCounts();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment host = arena.allocate(counts.byteSize());
            counts.memory().copyTo(host);
            return host.toArray(JAVA_INT);
        }
    }

    private EpTensor open(EpTensor tensor) {
        address();
        return tensor;
    }

    private EpTensor present(String name, @Nullable EpTensor tensor) {
        address();
        if (tensor == null) {
            throw new IllegalStateException("there are no " + name + " in " + handle);
        }
        return tensor;
    }

    /**
     * Sets T for the calls that follow.
     *
     * @throws IllegalArgumentException if they are another handle's, or have no room for so many tokens
     */
    void prepare(EpHandle user, long count) {
        if (user != handle || isClosed()) {
            checkOwner(user);
        }
        if (count != callTokens) {
            routing.checkRows(count);
            routing.setRows(count);
            tokens.setRows(count);
            if (scales != null) {
                scales.setRows(count);
            }
            weights.setRows(count);
            combined.setRows(count);
            callTokens = count;
        }
    }

    /** T of the last {@link #prepare}. */
    long callTokens() {
        return callTokens;
    }

    void checkOwner(EpHandle user) {
        address();
        if (user != handle) {
            throw new IllegalArgumentException(this + " belong to " + handle + ", not to " + user);
        }
    }

    /** A copy of the contents that a step without tokens changes, in stream order. */
    DeviceMemory save(CudaStream stream) {
        long bytes = 0;
        for (EpTensor tensor : memory.written()) {
            bytes = Sizes.sum("saved bytes", bytes, tensor.byteSize());
        }
        DeviceMemory saved = DeviceMemory.allocate(handle.group().device(), bytes);
        try {
            copySaved(saved, false, stream);
            return saved;
        } catch (RuntimeException | Error e) {
            saved.close();
            throw e;
        }
    }

    /** Puts the contents back. */
    void restore(DeviceMemory saved, CudaStream stream) {
        copySaved(saved, true, stream);
    }

    private void copySaved(DeviceMemory saved, boolean back, CudaStream stream) {
        long offset = 0;
        for (EpTensor tensor : memory.written()) {
            long bytes = tensor.byteSize();
            try (DeviceMemory part = saved.slice(offset, bytes)) {
                if (back) {
                    tensor.memory().copyFromAsync(part, bytes, stream);
                } else {
                    part.copyFromAsync(tensor.memory(), bytes, stream);
                }
            }
            offset += bytes;
        }
    }

    /** The configuration for C: the caller's, or that of the recipe; null for its {@code NULL}. */
    @Nullable
    DispatchConfig dispatchConfig(@Nullable DispatchConfig asked) {
        if (asked == null) {
            return dispatchConfig;
        }
        if (asked.recipe() != config.dispatchRecipe()) {
            throw new IllegalArgumentException("recipe " + asked.recipe() + " on " + this + ", which are for "
                    + config.dispatchRecipe() + ": start from dispatchConfig() of the buffers");
        }
        return asked;
    }

    /** The same for combine. */
    @Nullable
    CombineConfig combineConfig(@Nullable CombineConfig asked) {
        if (asked == null) {
            return combineConfig;
        }
        if (asked.recipe() != config.combineRecipe()) {
            throw new IllegalArgumentException("recipe " + asked.recipe() + " on " + this + ", which are for "
                    + config.combineRecipe() + ": start from combineConfig() of the buffers");
        }
        return asked;
    }

    /** The routing with the rows of the call. */
    EpTensor callRouting() {
        return routing;
    }

    DispatchInputs dispatchInputs() {
        return dispatchInputs;
    }

    DispatchOutputs dispatchOutputs() {
        return dispatchOutputs;
    }

    @Nullable
    LayoutInfo updateInfo() {
        return updateInfo;
    }

    @Nullable
    LayoutInfo dispatchInfo() {
        return dispatchInfo;
    }

    CombineInputs combineInputs() {
        return combineInputs;
    }

    CombineOutputs combineOutputs() {
        return combineOutputs;
    }

    private void checkClose() {
        CaptureScope.refuse("close of " + label(), "close after the capture");
        handle.group().checkThread("close");
    }

    @Override
    public String toString() {
        return label() + (isClosed() ? " (closed)" : "(" + memory.received + ")");
    }
}
