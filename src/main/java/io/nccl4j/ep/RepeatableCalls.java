package io.nccl4j.ep;

import io.nccl4j.NativeObject;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.internal.HotCalls;
import io.nccl4j.internal.StateChanges;
import org.jspecify.annotations.Nullable;

/**
 * The update, dispatch and combine of a handle that were made last, with nothing against them. Until something changes, the same call is
 * told by comparing its arguments and its thread, and made again with the same addresses: the hot path reads this object and nothing
 * else. What is given stands left of what is kept, which the compiler can then compare in memory. What the handle is told of, by
 * {@link StateChanges} or by {@link Repeaters} of what it was given, makes it forget all three.
 */
abstract sealed class RepeatableCalls extends NativeObject permits EpHandle {
    /** In the place of an argument where no call is kept: equal to nothing that a caller may give, and not to null either. */
    private static final Object NO_CALL = new Object();

    private final StateChanges.Observer observer = new StateChanges.Observer() {
        @Override
        protected void stateChanged() {
            forgetCalls();
        }
    };
    private final long handle;
    /** Who may repeat; null if nobody. */
    private @Nullable Thread thread;

    /** Without an info, and with one: either is no call if the call was the other. */
    private Object routing = NO_CALL;
    private Object countedRouting = NO_CALL;
    private @Nullable LayoutInfo updateInfo;
    private @Nullable CudaStream updateStream;
    private long updateRouting;
    private long updateCounters;
    private long updateOn;

    /** With neither info nor config, with an info, and with a config: two are no call. */
    private Object dispatchInputs = NO_CALL;
    private Object countedDispatchInputs = NO_CALL;
    private Object configuredDispatchInputs = NO_CALL;
    private @Nullable DispatchOutputs dispatchOutputs;
    private @Nullable LayoutInfo dispatchInfo;
    private @Nullable DispatchConfig dispatchConfig;
    private @Nullable CudaStream dispatchStream;
    private @Nullable DispatchStructs dispatchStructs;
    private long dispatchBase;
    private long dispatchCounters;
    private long dispatchHow;
    private long dispatchOn;

    /** Without a config, and with one. */
    private Object combineInputs = NO_CALL;
    private Object configuredCombineInputs = NO_CALL;
    private @Nullable CombineOutputs combineOutputs;
    private @Nullable CombineConfig combineConfig;
    private @Nullable CudaStream combineStream;
    private long combineIn;
    private long combineOut;
    private long combineHow;
    private long combineOn;

    /** Whose update and dispatch these are, on one stream, of so many tokens; and whose combine. */
    private Object dispatchBuffers = NO_CALL;
    private long dispatchTokens;
    private Object combineBuffers = NO_CALL;

    RepeatableCalls(String kind, long address, NativeObject held) {
        super(kind, address, held);
        this.handle = address;
    }

    final boolean isRepeatedUpdate(EpTensor topkIdx, CudaStream stream) {
        return Thread.currentThread() == thread && topkIdx == routing && stream == updateStream;
    }

    final boolean isRepeatedUpdate(EpTensor topkIdx, LayoutInfo info, CudaStream stream) {
        return Thread.currentThread() == thread && topkIdx == countedRouting && info == updateInfo
                && stream == updateStream;
    }

    final boolean isRepeatedDispatch(DispatchInputs inputs, DispatchOutputs outputs, CudaStream stream) {
        return Thread.currentThread() == thread && inputs == dispatchInputs && outputs == dispatchOutputs
                && stream == dispatchStream;
    }

    /** False without an info. */
    final boolean isRepeatedDispatch(DispatchInputs inputs, DispatchOutputs outputs, @Nullable LayoutInfo info,
            CudaStream stream) {
        return Thread.currentThread() == thread && inputs == countedDispatchInputs && outputs == dispatchOutputs
                && info == dispatchInfo && stream == dispatchStream;
    }

    final boolean isRepeatedDispatch(DispatchInputs inputs, DispatchOutputs outputs, @Nullable LayoutInfo info,
            DispatchConfig config, CudaStream stream) {
        return Thread.currentThread() == thread && inputs == configuredDispatchInputs && outputs == dispatchOutputs
                && info == dispatchInfo && config == dispatchConfig && stream == dispatchStream;
    }

    final boolean isRepeatedCombine(CombineInputs inputs, CombineOutputs outputs, CudaStream stream) {
        return Thread.currentThread() == thread && inputs == combineInputs && outputs == combineOutputs
                && stream == combineStream;
    }

    final boolean isRepeatedCombine(CombineInputs inputs, CombineOutputs outputs, CombineConfig config,
            CudaStream stream) {
        return Thread.currentThread() == thread && inputs == configuredCombineInputs && outputs == combineOutputs
                && config == combineConfig && stream == combineStream;
    }

    /** Whether update and dispatch are those of {@code buffers}. */
    final boolean isRepeatedDispatch(EpBuffers buffers, long tokens, CudaStream stream) {
        return Thread.currentThread() == thread && buffers == dispatchBuffers && tokens == dispatchTokens
                && stream == dispatchStream;
    }

    final boolean isRepeatedCombine(EpBuffers buffers, CudaStream stream) {
        return Thread.currentThread() == thread && buffers == combineBuffers && stream == combineStream;
    }

    final int repeatUpdate() {
        return HotCalls.update(handle, updateRouting, updateCounters, updateOn);
    }

    /** The last update without an info. */
    final int repeatPlainUpdate() {
        return HotCalls.update(handle, updateRouting, 0, updateOn);
    }

    final int repeatDispatch() {
        return HotCalls.dispatch(handle, dispatchBase + DispatchStructs.INPUTS,
                dispatchBase + DispatchStructs.OUTPUTS, dispatchCounters, dispatchHow, dispatchOn);
    }

    /** The last dispatch with neither info nor config. */
    final int repeatPlainDispatch() {
        return HotCalls.dispatch(handle, dispatchBase + DispatchStructs.INPUTS,
                dispatchBase + DispatchStructs.OUTPUTS, 0, 0, dispatchOn);
    }

    /** The last dispatch with an info and without a config. */
    final int repeatCountedDispatch() {
        return HotCalls.dispatch(handle, dispatchBase + DispatchStructs.INPUTS,
                dispatchBase + DispatchStructs.OUTPUTS, dispatchBase + DispatchStructs.INFO, 0, dispatchOn);
    }

    final int repeatCombine() {
        return HotCalls.combine(handle, combineIn, combineOut, combineHow, combineOn);
    }

    /** The last combine without a config. */
    final int repeatPlainCombine() {
        return HotCalls.combine(handle, combineIn, combineOut, 0, combineOn);
    }

    /**
     * The update was made and can be repeated.
     *
     * @param before {@link StateChanges#count()} before it was checked
     */
    final void keepUpdate(int before, EpTensor topkIdx, @Nullable LayoutInfo info, CudaStream stream) {
        begin();
        dispatchBuffers = NO_CALL;
        routing = info == null ? topkIdx : NO_CALL;
        countedRouting = info == null ? NO_CALL : topkIdx;
        updateInfo = info;
        updateStream = stream;
        updateRouting = topkIdx.descriptor();
        updateCounters = info == null ? 0 : info.address();
        updateOn = stream.address();
        topkIdx.repeaters().add(this);
        keep(before);
    }

    /** The dispatch was made and can be repeated. */
    final void keepDispatch(int before, DispatchInputs inputs, DispatchOutputs outputs, @Nullable LayoutInfo info,
            @Nullable DispatchConfig config, CudaStream stream) {
        begin();
        dispatchBuffers = NO_CALL;
        dispatchInputs = info == null && config == null ? inputs : NO_CALL;
        countedDispatchInputs = info != null && config == null ? inputs : NO_CALL;
        configuredDispatchInputs = config == null ? NO_CALL : inputs;
        dispatchOutputs = outputs;
        dispatchInfo = info;
        dispatchConfig = config;
        dispatchStream = stream;
        if (dispatchStructs == null) {
            dispatchStructs = new DispatchStructs();
            dispatchBase = dispatchStructs.address();
        }
        dispatchStructs.copy(inputs, outputs, info);
        dispatchCounters = info == null ? 0 : dispatchBase + DispatchStructs.INFO;
        dispatchHow = config == null ? 0 : config.address();
        dispatchOn = stream.address();
        inputs.repeaters().add(this);
        keep(before);
    }

    /** The combine was made and can be repeated. */
    final void keepCombine(int before, CombineInputs inputs, CombineOutputs outputs, @Nullable CombineConfig config,
            CudaStream stream) {
        begin();
        combineBuffers = NO_CALL;
        combineInputs = config == null ? inputs : NO_CALL;
        configuredCombineInputs = config == null ? NO_CALL : inputs;
        combineOutputs = outputs;
        combineConfig = config;
        combineStream = stream;
        combineIn = inputs.address();
        combineOut = outputs.address();
        combineHow = config == null ? 0 : config.address();
        combineOn = stream.address();
        outputs.repeaters().add(this);
        keep(before);
    }

    /** Update and dispatch on {@code buffers} were made; they can be repeated together if either can. */
    final void keepDispatch(EpBuffers buffers, long tokens) {
        if (thread == Thread.currentThread() && updateStream == dispatchStream
                && (routing == buffers.routing() || countedRouting == buffers.routing())
                && updateInfo == buffers.updateInfo()
                && (dispatchInputs == buffers.dispatchInputs() || countedDispatchInputs == buffers.dispatchInputs()
                        || configuredDispatchInputs == buffers.dispatchInputs())
                && dispatchConfig == buffers.dispatchConfig(null)) {
            dispatchTokens = tokens;
            dispatchBuffers = buffers;
        }
    }

    /** The same for combine. */
    final void keepCombine(EpBuffers buffers) {
        if (thread == Thread.currentThread()
                && (combineInputs == buffers.combineInputs() || configuredCombineInputs == buffers.combineInputs())
                && combineConfig == buffers.combineConfig(null)) {
            combineBuffers = buffers;
        }
    }

    /** What was kept before something has changed is not to be repeated. */
    private void begin() {
        if (thread != Thread.currentThread()) {
            routing = NO_CALL;
            countedRouting = NO_CALL;
            dispatchInputs = NO_CALL;
            countedDispatchInputs = NO_CALL;
            configuredDispatchInputs = NO_CALL;
            combineInputs = NO_CALL;
            configuredCombineInputs = NO_CALL;
            dispatchBuffers = NO_CALL;
            combineBuffers = NO_CALL;
        }
    }

    private void keep(int before) {
        thread = Thread.currentThread();
        StateChanges.tellNext(observer, before);
    }

    /** Rows or the routing have changed, or an operation is half done: all calls must be looked at again. */
    final void forgetCalls() {
        thread = null;
    }
}
