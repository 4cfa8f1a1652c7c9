package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.internal.StateChanges;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Arguments of an update, dispatch or combine that have passed all rules. Tensors, types and widths cannot change afterwards;
 * what is left to look at in each step are rows, and whether the objects still can be used. The call that was made last is <em>ready</em>:
 * as long as nothing has changed, it is told to be the same by comparing its arguments, and made again with the same addresses.
 */
final class CheckedCall {
    /** Stands where no call was made yet: never ready. */
    static final CheckedCall NONE = new CheckedCall(new Object(), null, null, null, null, null, null);

    private final Object first;
    private final @Nullable Object second;
    private final @Nullable Object third;
    private final @Nullable Object fourth;
    private final @Nullable NativeStruct perToken;
    private final EpTensor[] fixed;
    private final long[] fixedRows;
    private int changes = StateChanges.NEVER;
    private @Nullable Thread thread;
    private @Nullable CudaStream stream;
    private long handle;
    private long firstAddress;
    private long secondAddress;
    private long thirdAddress;
    private long fourthAddress;
    private long streamAddress;

    private CheckedCall(Object first, @Nullable Object second, @Nullable Object third, @Nullable Object fourth,
            @Nullable NativeStruct perToken, @Nullable NativeStruct fixed, @Nullable NativeStruct info) {
        this.first = first;
        this.second = second;
        this.third = third;
        this.fourth = fourth;
        this.perToken = perToken;
        EpTensor[] some = fixed == null ? new EpTensor[0] : fixed.tensors();
        EpTensor[] counters = info == null ? new EpTensor[0] : info.tensors();
        this.fixed = Arrays.copyOf(some, some.length + counters.length);
        System.arraycopy(counters, 0, this.fixed, some.length, counters.length);
        this.fixedRows = Arrays.stream(this.fixed).mapToLong(EpTensor::rows).toArray();
    }

    static CheckedCall update(EpTensor routing, @Nullable LayoutInfo info) {
        return new CheckedCall(routing, info, null, null, null, null, info);
    }

    static CheckedCall dispatch(DispatchInputs in, DispatchOutputs out, @Nullable LayoutInfo info,
            @Nullable DispatchConfig config) {
        return new CheckedCall(in, out, info, config, in, out, info);
    }

    static CheckedCall combine(CombineInputs in, CombineOutputs out, @Nullable CombineConfig config) {
        return new CheckedCall(in, out, config, null, out, in, null);
    }

    boolean isFor(Object a, @Nullable Object b, @Nullable Object c, @Nullable Object d) {
        return first == a && second == b && third == c && fourth == d;
    }

    /** Whether there are rows as at the check, and one for every token of the last update where that is the rule. */
    boolean hasRows(long tokens) {
        if (perToken != null && !perToken.hasRows(tokens)) {
            return false;
        }
        for (int i = 0; i < fixedRows.length; i++) {
            if (fixed[i].rows() != fixedRows[i]) {
                return false;
            }
        }
        return true;
    }

    /**
     * The call was made on {@code on} by this thread, with nothing against it.
     *
     * @param changesBefore {@link StateChanges#count()} before it was looked at
     * @param owner address of the handle
     */
    void ready(int changesBefore, long owner, CudaStream on, long a, long b, long c, long d) {
        changes = changesBefore;
        thread = Thread.currentThread();
        stream = on;
        handle = owner;
        firstAddress = a;
        secondAddress = b;
        thirdAddress = c;
        fourthAddress = d;
        streamAddress = on.address();
    }

    /** Rows or the routing have changed, or an operation is half done: it must be looked at again. */
    void stale() {
        changes = StateChanges.NEVER;
    }

    /** Whether this is the update that was made last, and nothing has happened since that could be against it. */
    boolean isReady(Object a, @Nullable Object b, CudaStream on) {
        return changes == StateChanges.count() && first == a && second == b && stream == on
                && thread == Thread.currentThread();
    }

    /** The same for a combine. */
    boolean isReady(Object a, @Nullable Object b, @Nullable Object c, CudaStream on) {
        return changes == StateChanges.count() && first == a && second == b && third == c && stream == on
                && thread == Thread.currentThread();
    }

    /** The same for a dispatch. */
    boolean isReady(Object a, @Nullable Object b, @Nullable Object c, @Nullable Object d, CudaStream on) {
        return changes == StateChanges.count() && first == a && second == b && third == c && fourth == d && stream == on
                && thread == Thread.currentThread();
    }

    long handle() {
        return handle;
    }

    long firstAddress() {
        return firstAddress;
    }

    long secondAddress() {
        return secondAddress;
    }

    long thirdAddress() {
        return thirdAddress;
    }

    long fourthAddress() {
        return fourthAddress;
    }

    long streamAddress() {
        return streamAddress;
    }
}
