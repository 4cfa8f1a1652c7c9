package io.nccl4j.ep;

import io.nccl4j.NativeObject;
import io.nccl4j.WaitTimeoutException;
import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.cuda.CudaException;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.FlightRecording;
import io.nccl4j.internal.HotCalls;
import io.nccl4j.internal.Ownership;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.NcclException;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;
import java.util.function.LongFunction;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The routing of one batch through one MoE layer, {@code ncclEpHandle_t}: update it, dispatch tokens, combine the
 * experts' outputs. Layout, top-k and alignment are fixed for its life; the number of tokens, T, is that of the last
 * update.
 *
 * <p>The explicit calls mirror the C functions one to one; null is C's {@code NULL}. {@link #dispatchAsync} and {@link
 * #combineAsync} do the same on an {@link EpBuffers} and are made for graphs. None of them allocates or, unless said,
 * waits. Arguments are checked against the rules when they are first used together; afterwards their rows are compared.
 *
 * <p>Belongs to the thread of its group: every method but close, isClosed and toString throws {@link
 * IllegalStateException} on another one, and after close.
 */
public final class EpHandle extends NativeObject {
    private static final Logger LOG = LoggerFactory.getLogger(EpHandle.class);
    /** Every byte of a routing entry of -1. */
    private static final byte NO_EXPERT = -1;

    private final EpGroup group;
    private final HandleShape shape;
    private final @Nullable DeviceMemory memory;
    private final boolean lowLatency;
    private final boolean eager;
    private final int maxTokens;
    private final GroupState groupState;
    private final GroupState.HandleState state;

    EpHandle(EpGroup group, long address, HandleShape shape, @Nullable DeviceMemory memory) {
        super("EpHandle", address, group);
        this.group = group;
        this.shape = shape;
        this.memory = memory;
        this.lowLatency = shape.isLowLatency();
        this.eager = shape.config().isEager();
        this.maxTokens = shape.maxTokens();
        this.groupState = group.state();
        this.state = groupState.ofHandle(this, lowLatency);
        if (memory != null) {
            Ownership.of(this).hold(memory);
        }
        group.handles().add(this);
        Ownership.of(this).onClose(this::checkClose, this::release);
    }

    /**
     * {@link #update(EpTensor, LayoutInfo, CudaStream)} without a layout info.
     *
     * @param topkIdx int64 or int32 {@code [T, topK]}
     * @param stream the stream that the work is enqueued on
     * @throws IllegalArgumentException if the routing is none of this handle's
     */
    public void update(EpTensor topkIdx, CudaStream stream) {
        update(topkIdx, null, stream);
    }

    /**
     * Sets the routing, {@code ncclEpUpdateHandle}. High throughput: collective, enqueued, captured; the tensor may
     * change once the stream has passed. Low latency: keeps T and the address of the tensor, whose contents dispatch
     * and combine read when they run; a capture records nothing of it, so an update between replays changes later eager
     * calls and captures, not the graph: to route anew, write into the tensor that was captured.
     *
     * @param topkIdx int64 or int32 {@code [T, topK]}: experts from 0, or negative for none
     * @param info high throughput: counters to write, or null. Low latency: null
     * @param stream the stream that the work is enqueued on
     * @throws IllegalArgumentException if an argument breaks a rule; nothing has changed then
     * @throws NcclException if the library refuses; the handle must be updated again
     */
    public void update(EpTensor topkIdx, @Nullable LayoutInfo info, CudaStream stream) {
        long self = address();
        int changes = group.checkCall(stream);
        if (topkIdx.rows() > maxTokens || !topkIdx.isChecked(shape)
                || info != null && !info.isChecked(shape, null, null, null, 0, changes)) {
            group.checkUpdate(shape, topkIdx, info);
            topkIdx.checked(shape);
            if (info != null) {
                info.checked(shape, null, null, null, 0, changes, new EpTensor[0], info.tensors());
            }
        }
        enqueueUpdate(self, topkIdx, info, stream);
    }

    private void enqueueUpdate(long self, EpTensor topkIdx, @Nullable LayoutInfo info, CudaStream stream) {
        if (stream.isCapturing()) {
            retain(stream, info);
            stream.retain(topkIdx.holder());
        }
        FlightRecording.Call event = FlightRecording.call();
        int status = HotCalls.update(self, topkIdx.descriptor(), info == null ? 0 : info.address(), stream.address());
        Reference.reachabilityFence(info);
        if (event != null) {
            event.commit("ncclEpUpdateHandle", label(), stream.isCapturing());
        }
        if (status != 0) {
            state.lose();
            throw group.failed("ncclEpUpdateHandle", status);
        }
        state.updated(topkIdx, stream);
    }

    /** The graph under construction keeps what the call uses. */
    private void retain(CudaStream stream, @Nullable EpStruct... structs) {
        stream.retain(this);
        for (EpStruct struct : structs) {
            if (struct != null) {
                for (EpTensor tensor : struct.tensors()) {
                    stream.retain(tensor.holder());
                }
            }
        }
        CaptureScope capture = CaptureScope.current();
        if (lowLatency && capture != null) {
            group.rdmaBuffer().usedIn(capture);
        }
    }

    /**
     * Checks a routing on the host, before it is copied to the device: nothing looks at it there, and an expert that
     * does not exist corrupts memory. A token may name an expert twice; in EXPERT_MAJOR of low latency each time takes
     * a row of the expert's zone, which has {@code maxTokensPerRank} for every rank.
     *
     * @param host {@code [count, topK]}
     * @param type INT64 or INT32
     * @param count tokens of this rank
     * @throws IllegalArgumentException if an expert is not below the number of experts, or is named more often than its
     *     zone has room for; negative means none
     */
    public void checkRouting(MemorySegment host, DataType type, long count) {
        address();
        RoutingRules.checkValues(shape, host, type, count);
    }

    /**
     * {@link #dispatch(DispatchInputs, DispatchOutputs, LayoutInfo, DispatchConfig, CudaStream)}: forward, without a
     * recipe, all at once.
     *
     * @param inputs {@code inputs}
     * @param outputs {@code outputs}
     * @param info low latency: counters to write. High throughput: how experts are numbered, or null
     * @param stream the stream that the work is enqueued on
     * @throws IllegalArgumentException if an argument breaks a rule
     */
    public void dispatch(DispatchInputs inputs, DispatchOutputs outputs, @Nullable LayoutInfo info, CudaStream stream) {
        dispatch(inputs, outputs, info, null, stream);
    }

    /**
     * Sends tokens to the ranks of their experts, {@code ncclEpDispatch}. Collective, enqueued. High throughput without
     * windows, or eager, waits for this rank's part of the update before it enqueues, unless captured.
     *
     * @param inputs rows of T tokens
     * @param outputs room for the rows of the layout
     * @param info low latency: counters to write. High throughput: only how experts are numbered, or null
     * @param config null for a forward pass without a recipe, all at once
     * @param stream the stream that the work is enqueued on
     * @throws IllegalArgumentException if an argument breaks a rule; nothing has changed then
     * @throws IllegalStateException before the first update, while a send half is pending, or if memory of the
     *     arguments is closed
     * @throws NcclException if the library refuses
     */
    public void dispatch(DispatchInputs inputs, DispatchOutputs outputs, @Nullable LayoutInfo info,
            @Nullable DispatchConfig config, CudaStream stream) {
        long self = address();
        int changes = group.checkCall(stream);
        if (!inputs.isChecked(shape, outputs, info, config, state.tokens(), changes)) {
            checkDispatch(inputs, outputs, info, config, stream, changes);
        }
        enqueueDispatch(self, inputs, outputs, info, config, stream);
    }

    private void checkDispatch(DispatchInputs inputs, DispatchOutputs outputs, @Nullable LayoutInfo info,
            @Nullable DispatchConfig config, CudaStream stream, int changes) {
        long count = state.tokensFor("dispatch", inputs.tokens().rows());
        group.checkTensors(inputs);
        group.checkTensors(outputs);
        if (info != null) {
            group.checkTensors(info);
        }
        DispatchConfig how = config == null ? DispatchConfig.defaults() : config;
        LayerTensors.Dispatch given = new LayerTensors.Dispatch(inputs.tokens().facts(),
                EpTensor.facts(inputs.weights()), EpTensor.facts(inputs.scales()), outputs.tokens().facts(),
                EpTensor.facts(outputs.weights()), EpTensor.facts(outputs.indices()), EpTensor.facts(outputs.scales()));
        DispatchRules.check(shape, count, given, info == null ? null : info.facts(), how);
        Rule.EAGER_CAPTURE.refuseIf(eager && stream.isCapturing(),
                "dispatch cannot be captured into a graph: the group is eager and reads counts on the host; give it "
                        + "maxReceiveRows, or leave dispatch between captured segments");
        // An eager group's outputs fit the counts of one update only.
        if (!eager) {
            inputs.checked(shape, outputs, info, config, count, changes, inputs.tensors(), outputs.tensors(),
                    info == null ? new EpTensor[0] : info.tensors());
        }
    }

    private void enqueueDispatch(long self, DispatchInputs inputs, DispatchOutputs outputs, @Nullable LayoutInfo info,
            @Nullable DispatchConfig config, CudaStream stream) {
        state.checkDispatch(stream);
        if (stream.isCapturing()) {
            retain(stream, inputs, outputs, info);
        }
        FlightRecording.Call event = FlightRecording.call();
        int status = HotCalls.dispatch(self, inputs.address(), outputs.address(), info == null ? 0 : info.address(),
                config == null ? 0 : config.address(), stream.address());
        Reference.reachabilityFence(inputs);
        Reference.reachabilityFence(info);
        if (event != null) {
            event.commit("ncclEpDispatch", label(), stream.isCapturing());
        }
        if (status != 0) {
            throw group.failed("ncclEpDispatch", status);
        }
        state.dispatched(stream, eager ? outputs.tokens().rows() : 0);
        if (config != null && config.isSendOnly()) {
            groupState.begin(this, stream, inputs, outputs, info);
        }
    }

    /**
     * {@link #combine(CombineInputs, CombineOutputs, CombineConfig, CudaStream)}: forward, without a recipe, all at
     * once.
     *
     * @param inputs {@code inputs}
     * @param outputs {@code outputs}
     * @param stream the stream that the work is enqueued on
     * @throws IllegalArgumentException if an argument breaks a rule
     */
    public void combine(CombineInputs inputs, CombineOutputs outputs, CudaStream stream) {
        combine(inputs, outputs, null, stream);
    }

    /**
     * Brings expert outputs home and adds them up, {@code ncclEpCombine}. Collective, enqueued. Low latency
     * EXPERT_MAJOR weights them; the others add, so that experts weight them before.
     *
     * @param inputs rows in the places where dispatch has put theirs
     * @param outputs rows of T tokens
     * @param config null for a forward pass without a recipe, all at once
     * @param stream the stream that the work is enqueued on
     * @throws IllegalArgumentException if an argument breaks a rule; nothing has changed then
     * @throws IllegalStateException before a dispatch of this routing, while a send half is pending, or if memory is
     *     closed
     * @throws NcclException if the library refuses
     */
    public void combine(CombineInputs inputs, CombineOutputs outputs, @Nullable CombineConfig config,
            CudaStream stream) {
        long self = address();
        int changes = group.checkCall(stream);
        if (!outputs.isChecked(shape, inputs, config, null, state.tokens(), changes)) {
            checkCombine(inputs, outputs, config, changes);
        }
        enqueueCombine(self, inputs, outputs, config, stream);
    }

    private void checkCombine(CombineInputs inputs, CombineOutputs outputs, @Nullable CombineConfig config,
            int changes) {
        long count = state.tokensFor("combine", outputs.tokens().rows());
        group.checkTensors(inputs);
        group.checkTensors(outputs);
        CombineConfig how = config == null ? CombineConfig.defaults() : config;
        LayerTensors.Combine given = new LayerTensors.Combine(inputs.tokens().facts(), EpTensor.facts(inputs.weights()),
                EpTensor.facts(inputs.scales()), outputs.tokens().facts(), EpTensor.facts(outputs.weights()));
        CombineRules.check(shape, count, given, how, state.dispatchedRows());
        if (!eager) {
            outputs.checked(shape, inputs, config, null, count, changes, outputs.tensors(), inputs.tensors());
        }
    }

    private void enqueueCombine(long self, CombineInputs inputs, CombineOutputs outputs, @Nullable CombineConfig config,
            CudaStream stream) {
        state.checkCombine(stream);
        if (stream.isCapturing()) {
            retain(stream, inputs, outputs);
        }
        FlightRecording.Call event = FlightRecording.call();
        int status = HotCalls.combine(self, inputs.address(), outputs.address(), config == null ? 0 : config.address(),
                stream.address());
        Reference.reachabilityFence(inputs);
        Reference.reachabilityFence(outputs);
        if (event != null) {
            event.commit("ncclEpCombine", label(), stream.isCapturing());
        }
        if (status != 0) {
            throw group.failed("ncclEpCombine", status);
        }
        if (config != null && config.isSendOnly()) {
            groupState.begin(this, stream, inputs, outputs, null);
        }
    }

    /**
     * Does the other half of the operation that was {@code sendOnly}, {@code ncclEpComplete}: enqueued on the stream of
     * its first half. Collective with the other ranks' first halves. Does nothing if none is pending in this handle,
     * and for high throughput.
     *
     * @throws IllegalStateException if the first half was captured and this is not, or the other way round, or its
     *     memory is closed
     * @throws NcclException if the library refuses
     */
    public void complete() {
        long self = address();
        group.checkUse();
        CudaStream stream = groupState.isPendingOf(this) ? groupState.stream() : null;
        if (stream == null) {
            return;
        }
        groupState.checkComplete();
        int status = HotCalls.complete(self, 0, stream.address());
        if (status != 0) {
            throw group.failed("ncclEpComplete", status);
        }
        groupState.end();
    }

    /**
     * {@return device buffers at maximum capacity, at addresses that never change, for {@link #dispatchAsync} and
     * {@link #combineAsync}} High throughput: collective, since received rows lie in windows. A handle may have
     * several, of different recipes too.
     *
     * @param config type, length and quantisation of the rows
     * @throws IllegalArgumentException if the group cannot move such rows; names all that is wrong
     * @throws IllegalStateException high throughput: if the device of a rank has too little memory free
     * @throws CudaException if there is not enough memory; nothing stays allocated then
     */
    public EpBuffers allocateBuffers(BufferConfig config) {
        return allocateBuffers(config, bytes -> DeviceMemory.allocate(group.communicator().device(), bytes));
    }

    /**
     * The same in memory of others, but for what lies in windows, which NCCL allocates.
     *
     * @param config the rows
     * @param memory gives memory of the group's device for a number of bytes, at a multiple of 256; wrapped or adopted
     *     memory, say. The buffers close it
     * @return buffers at addresses that never change
     * @throws IllegalArgumentException if the group cannot move such rows, or memory does not suit; what was given
     *     before is closed
     */
    public EpBuffers allocateBuffers(BufferConfig config, LongFunction<DeviceMemory> memory) {
        CaptureScope.refuse("EpHandle.allocateBuffers", "allocate before the capture");
        address();
        group.checkUse();
        return EpBuffers.allocate(this, config, memory);
    }

    /**
     * Update and dispatch on {@code buffers}. Capturable; does not wait, allocate or read counts on the host. What a
     * capture fixes is {@code count}: replays serve as many tokens or fewer, the rest with a routing of -1.
     *
     * @param buffers the handle's buffers
     * @param count tokens of this rank, 0 to {@link EpBuffers#maxTokens()}
     * @param stream the stream that the work is enqueued on
     * @throws IllegalArgumentException if the buffers are another handle's, or there are too many tokens
     * @throws IllegalStateException while a send half is pending
     * @throws NcclException if the library refuses
     */
    public void dispatchAsync(EpBuffers buffers, long count, CudaStream stream) {
        dispatchAsync(buffers, count, null, stream);
    }

    /**
     * The same with {@link EpBuffers#dispatchConfig()} changed, such as to {@code sendOnly()}: {@link #complete()} does
     * the rest then.
     *
     * @param buffers the handle's buffers
     * @param count tokens of this rank
     * @param config settings of the call; null for those of the buffers
     * @param stream the stream that the work is enqueued on
     * @throws IllegalArgumentException if the recipe is not that of the buffers
     */
    public void dispatchAsync(EpBuffers buffers, long count, @Nullable DispatchConfig config, CudaStream stream) {
        long self = address();
        group.checkCall(stream);
        DispatchConfig how = buffers.dispatchConfig(config);
        buffers.prepare(this, count);
        enqueueUpdate(self, buffers.callRouting(), buffers.updateInfo(), stream);
        if (config == null) {
            enqueueDispatch(self, buffers.dispatchInputs(), buffers.dispatchOutputs(), buffers.dispatchInfo(), how,
                    stream);
        } else {
            dispatch(buffers.dispatchInputs(), buffers.dispatchOutputs(), buffers.dispatchInfo(), how, stream);
        }
        stream.retain(buffers);
    }

    /**
     * Combine on {@code buffers}: the experts' outputs of the tokens of the last {@link #dispatchAsync}. Capturable;
     * does not wait or allocate.
     *
     * @param buffers the handle's buffers
     * @param stream the stream that the work is enqueued on
     * @throws IllegalArgumentException if the buffers are another handle's, or were used for another number of tokens
     * @throws IllegalStateException before a dispatch, or while a send half is pending
     * @throws NcclException if the library refuses
     */
    public void combineAsync(EpBuffers buffers, CudaStream stream) {
        combineAsync(buffers, null, stream);
    }

    private void checkCombine(EpBuffers buffers) {
        if (buffers.handle() != this || buffers.isClosed()) {
            buffers.checkOwner(this);
        }
        if (buffers.callTokens() != state.tokens()) {
            long count = state.tokensFor("combine", buffers.callTokens());
            Rule.COMBINE_SHAPE.refuseIf(count != buffers.callTokens(),
                    "combine of %s, last used for %d tokens: the last update of the handle was for %d", buffers,
                    buffers.callTokens(), count);
        }
    }

    /**
     * The same with {@link EpBuffers#combineConfig()} changed, such as to {@code sendOnly()}: {@link #complete()} does
     * the rest then.
     *
     * @param buffers the handle's buffers
     * @param config settings of the call; null for those of the buffers
     * @param stream the stream that the work is enqueued on
     * @throws IllegalArgumentException if the recipe is not that of the buffers
     */
    public void combineAsync(EpBuffers buffers, @Nullable CombineConfig config, CudaStream stream) {
        long self = address();
        group.checkCall(stream);
        checkCombine(buffers);
        CombineConfig how = buffers.combineConfig(config);
        if (config == null) {
            enqueueCombine(self, buffers.combineInputs(), buffers.combineOutputs(), how, stream);
        } else {
            combine(buffers.combineInputs(), buffers.combineOutputs(), how, stream);
        }
        stream.retain(buffers);
    }

    /**
     * Makes the library compile and load the kernels that dispatch and combine on {@code buffers} need, which would
     * otherwise happen in the first capture: runs both once, without a valid token, and waits for them. Collective.
     * Leaves the contents of the buffers as they were; takes the memory of a routing and of combined tokens for that
     * time.
     *
     * @param buffers the handle's buffers
     * @param count as for {@link #dispatchAsync}
     * @param stream the stream that the work is enqueued on
     * @throws WaitTimeoutException if another rank does not take part within the communicator's limit
     * @throws IllegalStateException during a capture, or while a send half is pending
     */
    public void warmUp(EpBuffers buffers, long count, CudaStream stream) {
        CaptureScope.refuse("EpHandle.warmUp", "warm up before the capture");
        address();
        group.checkCall(stream);
        // The other half of what is pending reads the routing again.
        Rule.SEND_PENDING.refuseIf(groupState.isPending(),
                "warmUp of %s while a send half is pending in its group (%s): complete it first", this, groupState);
        buffers.prepare(this, count);
        try (DeviceMemory saved = buffers.save(stream)) {
            buffers.routing().memory().fillAsync(NO_EXPERT, stream);
            dispatchAsync(buffers, count, stream);
            combineAsync(buffers, stream);
            buffers.restore(saved, stream);
            stream.awaitUninterruptibly(group.communicator().limit());
        }
    }

    /** {@return the group that it belongs to} */
    public EpGroup group() {
        return group;
    }

    /** {@return how received tokens lie} */
    public Layout layout() {
        return shape.layout();
    }

    /** {@return experts per token} */
    public int topK() {
        return shape.topK();
    }

    /** {@return rows that experts' zones are padded to a multiple of, at least 1} */
    public int alignment() {
        return shape.alignment();
    }

    /**
     * {@return tokens of the last update; -1 before the first, and after a graph that updated for another number of
     * tokens}
     */
    public long tokens() {
        return state.tokens();
    }

    GroupState.HandleState state() {
        return state;
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
        group.checkOwner(label());
        Rule.SEND_PENDING.refuseIf(
                groupState.isPendingOf(this) && !groupState.isLost() && group.communicator().lost() == null,
                "close of %s while its send half is pending: complete it first", label());
    }

    /** Destroys natively, {@code ncclEpHandleDestroy}, which does not wait for the device itself; or abandons it. */
    private void release(long released, Deadline deadline) {
        group.handles().remove(this);
        Communicator communicator = group.communicator();
        String reason = group.config().hasMask() ? communicator.lost() : communicator.lostForCollectives();
        if (reason == null && !group.device().awaitLastUse(deadline.remaining())) {
            reason = "work that may use it is still pending after " + deadline + ", or has failed";
        }
        FlightRecording.lifecycle("close", label());
        if (reason != null) {
            LOG.error("{} is abandoned, its native memory is not released: {}", label(), reason);
            if (memory != null) {
                memory.abandon();
            }
            return;
        }
        communicator.check("ncclEpHandleDestroy", NcclEp.ncclEpHandleDestroy(MemorySegment.ofAddress(released)));
        group.rethrowAllocatorFailure();
    }

    @Override
    public String toString() {
        return label() + (isClosed() ? " (closed)" : "(" + shape.layout() + ", topK " + shape.topK() + ")");
    }
}
