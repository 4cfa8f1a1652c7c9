package io.nccl4j.ep;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Arguments of an update, dispatch or combine that have passed all rules. Tensors, types and widths cannot change afterwards;
 * what is left to look at in each step are rows, and whether the objects still can be used.
 */
final class CheckedCall {
    private final Object first;
    private final @Nullable Object second;
    private final @Nullable Object third;
    private final @Nullable Object fourth;
    private final @Nullable NativeStruct perToken;
    private final EpTensor[] fixed;
    private final long[] fixedRows;

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
        this.fixedRows = new long[this.fixed.length];
        for (int i = 0; i < fixedRows.length; i++) {
            fixedRows[i] = this.fixed[i].rows();
        }
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

    boolean isSameAs(CheckedCall other) {
        return isFor(other.first, other.second, other.third, other.fourth);
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
}
