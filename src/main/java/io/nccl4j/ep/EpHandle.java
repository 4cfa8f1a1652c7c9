package io.nccl4j.ep;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.internal.CallEvent;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.FlightRecording;
import io.nccl4j.internal.HotCalls;
import io.nccl4j.internal.Ownership;
import io.nccl4j.internal.StateChanges;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.NcclException;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The routing of one batch through one MoE layer, {@code ncclEpHandle_t}: update it, dispatch tokens, combine the experts'
 * outputs. Layout, top-k and alignment are fixed for its life; the number of tokens, T, is that of the last update.
 *
 * <p>The explicit calls mirror the C functions one to one; null, or an argument left out, is C's {@code NULL}. {@link
 * #dispatchAsync} and {@link #combineAsync} do the same on an {@link EpBuffers} and are made for graphs. None of them allocates
 * or, unless said, waits. Arguments are checked when they are first used together; afterwards only rows are compared.
 *
 * <p>Belongs to the thread of its group.
 */
public final class EpHandle extends RepeatableCalls {
    private static final Logger LOG = LoggerFactory.getLogger(EpHandle.class);
    /** Every byte of a routing entry of -1. */
    private static final byte NO_EXPERT = -1;

    private final EpGroup group;
    private final HandleShape shape;
    private final @Nullable DeviceMemory memory;
    private final boolean lowLatency;
    private final boolean eager;
    private final int maxTokens;
    private final CheckedCalls updates = new CheckedCalls();
    private final CheckedCalls dispatches = new CheckedCalls();
    private final CheckedCalls combines = new CheckedCalls();
    private final SendState send;
    private final CapturedOperations captured;
    private final RoutingState routing;
    /** Whether the library keeps the turn of its two buffers in the handle; then {@link #bank} is whose turn it is. */
    private final boolean banked;
    private int bank;

    EpHandle(EpGroup group, long address, HandleShape shape, @Nullable DeviceMemory memory) {
        super("EpHandle", address, group);
        this.group = group;
        this.send = group.send();
        this.shape = shape;
        this.memory = memory;
        this.lowLatency = shape.isLowLatency();
        this.eager = shape.config().isEager();
        this.maxTokens = shape.maxTokens();
        this.captured = new CapturedOperations(this, shape);
        this.routing = new RoutingState(this, send, captured, lowLatency);
        this.banked = lowLatency && !shape.isV2();
        if (memory != null) {
            Ownership.of(this).hold(memory);
        }
        group.handles().add(this);
        Ownership.of(this).onClose(this::checkClose, this::release);
    }

    /** {@link #update(EpTensor, LayoutInfo, CudaStream)} without a layout info. */
    public void update(EpTensor topkIdx, CudaStream stream) {
        if (!isRepeatedUpdate(topkIdx, stream)) {
            checkAndUpdate(topkIdx, null, stream);
            return;
        }
        int status = repeatPlainUpdate();
        if (status != 0) {
            throw updateFailed(status);
        }
    }

    /**
     * Sets the routing, {@code ncclEpUpdateHandle}. High throughput: collective, enqueued, captured; the tensor may change once
     * the stream has passed. Low latency: keeps T and the address of the tensor, whose contents dispatch and combine read when
     * they run; a capture records nothing of it, so an update between replays changes later eager calls and captures, not the
     * graph: to route anew, write into the tensor that was captured.
     *
     * @param topkIdx int64 or (API v2) int32 {@code [T, topK]}: experts from 0, or negative for none
     * @param info high throughput: counters to write, or null. Low latency: null
     */
    public void update(EpTensor topkIdx, @Nullable LayoutInfo info, CudaStream stream) {
        if (info == null) {
            update(topkIdx, stream);
            return;
        }
        if (!isRepeatedUpdate(topkIdx, info, stream)) {
            checkAndUpdate(topkIdx, info, stream);
            return;
        }
        int status = repeatUpdate();
        if (status != 0) {
            throw updateFailed(status);
        }
    }

    private void checkAndUpdate(EpTensor topkIdx, @Nullable LayoutInfo info, CudaStream stream) {
        int changes = StateChanges.count();
        long handle = address();
        group.enter(stream);
        long count = topkIdx.rows();
        if (count > maxTokens || !updates.contains(topkIdx, info, null, null, count)) {
            CallRules.checkUpdate(group, shape, topkIdx, info);
            updates.add(CheckedCall.update(topkIdx, info));
        }
        if (stream.isCapturing()) {
            captured.update(stream, topkIdx, info);
        }
        CallEvent event = FlightRecording.isOn() ? CallEvent.started() : null;
        int status = HotCalls.update(handle, topkIdx.descriptor(), info == null ? 0 : info.address(), stream.address());
        if (event != null) {
            event.commit("ncclEpUpdateHandle", label(), stream.isCapturing());
        }
        if (status != 0) {
            throw updateFailed(status);
        }
        routing.updated(topkIdx, stream);
        if (isRepeatable(event, stream)) {
            keepUpdate(changes, topkIdx, info, stream);
        }
    }

    private NcclException updateFailed(int status) {
        routing.lose();
        return group.failed("ncclEpUpdateHandle", status);
    }

    /** Whether the call just made can be made again as {@link RepeatableCalls} does. */
    private boolean isRepeatable(@Nullable CallEvent event, CudaStream stream) {
        FlightRecording.watch();
        return event == null && !stream.isCapturing() && !group.isChecked();
    }

    /**
     * Checks a routing on the host, before it is copied to the device: nothing looks at it there, and an expert that does not
     * exist corrupts memory. A token may name an expert twice; in EXPERT_MAJOR of low latency each time takes a row of the expert's
     * zone, which has {@code maxTokensPerRank} for every rank.
     *
     * @param host {@code [count, topK]}
     * @param type INT64 or INT32
     * @throws IllegalArgumentException if an expert is not below the number of experts, or is named more often than its zone has room
     *         for; negative means none
     */
    public void checkRouting(MemorySegment host, DataType type, long count) {
        address();
        HandleRules.checkRoutingValues(shape, host, type, count);
    }

    /** {@link #dispatch(DispatchInputs, DispatchOutputs, LayoutInfo, DispatchConfig, CudaStream)}: forward, all at once. */
    public void dispatch(DispatchInputs inputs, DispatchOutputs outputs, @Nullable LayoutInfo info, CudaStream stream) {
        if (!isRepeatedDispatch(inputs, outputs, info, stream)) {
            if (info == null) {
                dispatch(inputs, outputs, stream);
            } else {
                checkAndDispatch(inputs, outputs, info, null, stream);
            }
            return;
        }
        int status = repeatCountedDispatch();
        if (status != 0) {
            throw dispatchFailed(status);
        }
    }

    /** The same without a layout info. */
    public void dispatch(DispatchInputs inputs, DispatchOutputs outputs, CudaStream stream) {
        if (!isRepeatedDispatch(inputs, outputs, stream)) {
            checkAndDispatch(inputs, outputs, null, null, stream);
            return;
        }
        int status = repeatPlainDispatch();
        if (status != 0) {
            throw dispatchFailed(status);
        }
    }

    /**
     * Sends tokens to the ranks of their experts, {@code ncclEpDispatch}. Collective, enqueued. High throughput without windows,
     * or eager, waits for this rank's part of the update before it enqueues, unless captured.
     *
     * @param inputs rows of T tokens
     * @param outputs room for what the layout says
     * @param info low latency: counters to write. High throughput: only how experts are numbered, or null
     * @param config null for a forward pass without a recipe, all at once
     */
    public void dispatch(DispatchInputs inputs, DispatchOutputs outputs, @Nullable LayoutInfo info,
            @Nullable DispatchConfig config,
            CudaStream stream) {
        if (config == null) {
            dispatch(inputs, outputs, info, stream);
            return;
        }
        if (!isRepeatedDispatch(inputs, outputs, info, config, stream)) {
            checkAndDispatch(inputs, outputs, info, config, stream);
            return;
        }
        int status = repeatDispatch();
        if (status != 0) {
            throw dispatchFailed(status);
        }
    }

    private NcclException dispatchFailed(int status) {
        return group.failed("ncclEpDispatch", status);
    }

    private void checkAndDispatch(DispatchInputs inputs, DispatchOutputs outputs, @Nullable LayoutInfo info,
            @Nullable DispatchConfig config, CudaStream stream) {
        int changes = StateChanges.count();
        long handle = address();
        group.enter(stream);
        if (eager || !dispatches.contains(inputs, outputs, info, config, routing.tokens())) {
            checkDispatch(inputs, outputs, info, config, stream);
        }
        routing.checkDispatch(stream);
        if (stream.isCapturing()) {
            captured.operation(stream, routing.routing(), inputs, outputs, info);
        } else if (banked) {
            group.banks().check(bank, this);
        }
        CallEvent event = FlightRecording.isOn() ? CallEvent.started() : null;
        int status = HotCalls.dispatch(handle, inputs.address(), outputs.address(), info == null ? 0 : info.address(),
                config == null ? 0 : config.address(), stream.address());
        if (event != null) {
            event.commit("ncclEpDispatch", label(), stream.isCapturing());
        }
        if (status != 0) {
            throw dispatchFailed(status);
        }
        if (stream.isCapturing()) {
            captured.count(stream, bank, () -> dispatch(inputs, outputs, info, stream));
            if (lowLatency) {
                captured.routed(routing.routing(), routing.tokens());
            }
        }
        if (banked) {
            takeTurns(stream);
        }
        routing.dispatched(stream, outputs.tokens().rows());
        if (config != null && config.isSendOnly()) {
            send.begin(this, stream, inputs, outputs, info);
        } else if (!eager && !banked && isRepeatable(event, stream)) {
            keepDispatch(changes, inputs, outputs, info, config, stream);
        }
    }

    private void takeTurns(CudaStream stream) {
        if (!stream.isCapturing()) {
            group.banks().ran(bank);
        }
        bank ^= 1;
    }

    private void checkDispatch(DispatchInputs inputs, DispatchOutputs outputs, @Nullable LayoutInfo info,
            @Nullable DispatchConfig config, CudaStream stream) {
        long count = routing.tokensFor("dispatch", inputs.tokens());
        CallRules.checkDispatch(group, shape, count, inputs, outputs, info, config, stream.isCapturing());
        dispatches.add(CheckedCall.dispatch(inputs, outputs, info, config));
    }

    /** {@link #combine(CombineInputs, CombineOutputs, CombineConfig, CudaStream)}: forward, all at once. */
    public void combine(CombineInputs inputs, CombineOutputs outputs, CudaStream stream) {
        if (!isRepeatedCombine(inputs, outputs, stream)) {
            checkAndCombine(inputs, outputs, null, stream);
            return;
        }
        int status = repeatPlainCombine();
        if (status != 0) {
            throw combineFailed(status);
        }
    }

    /**
     * Brings expert outputs home and adds them up, {@code ncclEpCombine}. Collective, enqueued. Low latency EXPERT_MAJOR weights
     * them; the others add, so that experts weight them before.
     *
     * @param inputs rows where dispatch has put theirs
     * @param outputs rows of T tokens
     * @param config null for a forward pass without a recipe, all at once
     */
    public void combine(CombineInputs inputs, CombineOutputs outputs, @Nullable CombineConfig config,
            CudaStream stream) {
        if (config == null) {
            combine(inputs, outputs, stream);
            return;
        }
        if (!isRepeatedCombine(inputs, outputs, config, stream)) {
            checkAndCombine(inputs, outputs, config, stream);
            return;
        }
        int status = repeatCombine();
        if (status != 0) {
            throw combineFailed(status);
        }
    }

    private NcclException combineFailed(int status) {
        return group.failed("ncclEpCombine", status);
    }

    private void checkAndCombine(CombineInputs inputs, CombineOutputs outputs, @Nullable CombineConfig config,
            CudaStream stream) {
        int changes = StateChanges.count();
        long handle = address();
        group.enter(stream);
        if (eager || !combines.contains(inputs, outputs, config, null, routing.tokens())) {
            checkCombine(inputs, outputs, config);
        }
        routing.checkCombine(stream);
        if (stream.isCapturing()) {
            captured.operation(stream, routing.routing(), inputs, outputs, null);
        } else if (banked) {
            group.banks().check(bank, this);
        }
        CallEvent event = FlightRecording.isOn() ? CallEvent.started() : null;
        int status = HotCalls.combine(handle, inputs.address(), outputs.address(),
                config == null ? 0 : config.address(),
                stream.address());
        if (event != null) {
            event.commit("ncclEpCombine", label(), stream.isCapturing());
        }
        if (status != 0) {
            throw combineFailed(status);
        }
        if (stream.isCapturing()) {
            captured.count(stream, bank, () -> combine(inputs, outputs, stream));
        }
        if (banked) {
            takeTurns(stream);
        }
        if (config != null && config.isSendOnly()) {
            send.begin(this, stream, inputs, outputs, null);
        } else if (!eager && !banked && isRepeatable(event, stream)) {
            keepCombine(changes, inputs, outputs, config, stream);
        }
    }

    private void checkCombine(CombineInputs inputs, CombineOutputs outputs, @Nullable CombineConfig config) {
        long count = routing.tokensFor("combine", outputs.tokens());
        CallRules.checkCombine(group, shape, count, inputs, outputs, config, routing.dispatchedRows());
        combines.add(CheckedCall.combine(inputs, outputs, config));
    }

    /**
     * Does the other half of the operation that was {@code sendOnly}, {@code ncclEpComplete}: enqueued on the stream of its
     * first half. Collective with the other ranks' first halves. Does nothing if none is pending in this handle, and for high
     * throughput.
     */
    public void complete() {
        long handle = address();
        group.enter();
        CudaStream stream = send.isPendingOf(this) ? send.stream() : null;
        if (stream == null) {
            return;
        }
        send.checkComplete();
        int status = HotCalls.complete(handle, 0, stream.address());
        if (status != 0) {
            throw group.failed("ncclEpComplete", status);
        }
        send.end();
    }

    /** {@link #allocateBuffers(BufferConfig)} for rows that travel as they are: BFLOAT16, FLOAT16 or FLOAT32. */
    public EpBuffers allocateBuffers(int hidden, DataType type) {
        return allocateBuffers(BufferConfig.of(hidden, type));
    }

    /**
     * Device buffers at maximum capacity, at addresses that never change, for {@link #dispatchAsync} and {@link #combineAsync}.
     * High throughput: collective, since what is received lies in windows. A handle may have several, of different recipes too.
     */
    public EpBuffers allocateBuffers(BufferConfig config) {
        CaptureScope.refuse("EpHandle.allocateBuffers", "allocate before the capture");
        address();
        group.enter();
        return EpBuffers.allocate(this, config);
    }

    /**
     * Update and dispatch on {@code buffers}. Capturable; does not wait, allocate or read counts on the host (but NCCL EP 0.1.0 does
     * in high throughput, unless captured). What a capture fixes is {@code count}: replays serve as many tokens or fewer, the rest
     * with a routing of -1.
     *
     * @param count tokens of this rank, 0 to {@link EpBuffers#maxTokens()}
     */
    public void dispatchAsync(EpBuffers buffers, long count, CudaStream stream) {
        if (!isRepeatedDispatch(buffers, count, stream)) {
            dispatchAsync(buffers, count, null, stream);
            keepDispatch(buffers, count);
            return;
        }
        int status = repeatUpdate();
        if (status != 0) {
            throw updateFailed(status);
        }
        status = repeatDispatch();
        if (status != 0) {
            throw dispatchFailed(status);
        }
    }

    /** The same with {@link EpBuffers#dispatchConfig()} changed, such as to {@code sendOnly()}: {@link #complete()} does the rest then. */
    public void dispatchAsync(EpBuffers buffers, long count, @Nullable DispatchConfig config, CudaStream stream) {
        if (buffers.handle() != this || buffers.tokenRows() != count) {
            checkOwn(buffers, stream);
            buffers.tokenRows(count);
        }
        update(buffers.routing(), buffers.updateInfo(), stream);
        dispatch(buffers.dispatchInputs(), buffers.dispatchOutputs(), buffers.dispatchInfo(),
                buffers.dispatchConfig(config), stream);
        if (stream.isCapturing()) {
            stream.retain(buffers);
        }
    }

    /** Before anything is written into the buffers, which another thread or handle may be using. */
    private void checkOwn(EpBuffers buffers, CudaStream stream) {
        address();
        group.enter(stream);
        buffers.checkOwner(this);
    }

    /**
     * Combine on {@code buffers}: the experts' outputs of the tokens of the last {@link #dispatchAsync}. Capturable; does not
     * wait or allocate.
     */
    public void combineAsync(EpBuffers buffers, CudaStream stream) {
        if (!isRepeatedCombine(buffers, stream)) {
            combineAsync(buffers, null, stream);
            keepCombine(buffers);
            return;
        }
        int status = repeatCombine();
        if (status != 0) {
            throw combineFailed(status);
        }
    }

    /** The same with {@link EpBuffers#combineConfig()} changed, such as to {@code sendOnly()}: {@link #complete()} does the rest then. */
    public void combineAsync(EpBuffers buffers, @Nullable CombineConfig config, CudaStream stream) {
        buffers.checkOwner(this);
        combine(buffers.combineInputs(), buffers.combineOutputs(), buffers.combineConfig(config), stream);
        if (stream.isCapturing()) {
            stream.retain(buffers);
        }
    }

    /**
     * Makes the library compile and load what dispatch and combine on {@code buffers} need, which would otherwise happen in the
     * first capture: runs both once, without a valid token, and waits for them. Collective; leaves routing rows of -1.
     *
     * @param count as for {@link #dispatchAsync}
     * @throws WaitTimeoutException if another rank does not take part within the communicator's limit
     */
    public void warmUp(EpBuffers buffers, long count, CudaStream stream) {
        CaptureScope.refuse("EpHandle.warmUp", "warm up before the capture");
        checkOwn(buffers, stream);
        // The other half of what is pending reads the routing again.
        Rule.SEND_PENDING.require(!send.isPending(),
                "warmUp of %s while a send half is pending in its group (%s): complete it first", this, send);
        buffers.routing().memory().fillAsync(NO_EXPERT, stream);
        dispatchAsync(buffers, count, stream);
        combineAsync(buffers, stream);
        stream.await(group.communicator().limit());
    }

    /** The group that it belongs to. */
    public EpGroup group() {
        return group;
    }

    /** How received tokens lie. */
    public Layout layout() {
        return shape.layout();
    }

    /** Experts per token. */
    public int topK() {
        return shape.topK();
    }

    /** Rows that experts' zones are padded to a multiple of, at least 1. */
    public int alignment() {
        return shape.alignment();
    }

    /** Tokens of the last update; -1 before the first, and after a graph that updated for another number of tokens. */
    public long tokens() {
        return routing.tokens();
    }

    RoutingState routing() {
        return routing;
    }

    boolean isCaptured() {
        return captured.exist();
    }

    HandleShape shape() {
        return shape;
    }

    /** The caller's, if it gave some. */
    @Nullable
    DeviceMemory memory() {
        return memory;
    }

    private void checkClose() {
        CaptureScope.refuse("close of " + label(), "close after the capture");
        group.checkThread("close");
        Rule.SEND_PENDING.require(!send.isPendingOf(this) || send.isLost() || group.communicator().lost() != null,
                "close of %s while its send half is pending: complete it first", label());
    }

    /** Destroys natively, {@code ncclEpHandleDestroy}, which does not wait for the device itself. */
    private void release(long released, Deadline deadline) {
        group.handles().remove(this);
        NativeHandle.destroy(this, label(), released, deadline);
    }

    private String label() {
        return Ownership.of(this).label();
    }

    @Override
    public String toString() {
        return label() + (isClosed() ? " (closed)" : "(" + shape.layout() + ", topK " + shape.topK() + ")");
    }
}
