package io.nccl4j.ep;

import org.jspecify.annotations.Nullable;

/**
 * Arguments that have passed the rules of a call together, for handles of one shape. Types, widths and addresses of
 * tensors never change; so a later call compares identities, and the rows of the tensors when something has changed.
 */
final class CheckedArguments {
    private final HandleShape shape;
    private final @Nullable Object second;
    private final @Nullable Object third;
    private final @Nullable Object fourth;
    private final EpTensor[] perToken;
    private final EpTensor[][] fixed;
    private final long[] fixedRows;
    private long tokens;
    private int changes;

    /**
     * @param second what was given beside the struct that keeps this
     * @param tokens of the last update
     * @param changes of the device before the arguments were checked
     * @param perToken tensors with a row for each token of the last update
     * @param fixed all other tensors, struct by struct
     */
    CheckedArguments(HandleShape shape, @Nullable Object second, @Nullable Object third, @Nullable Object fourth,
            long tokens, int changes, EpTensor[] perToken, EpTensor[]... fixed) {
        this.shape = shape;
        this.second = second;
        this.third = third;
        this.fourth = fourth;
        this.tokens = tokens;
        this.changes = changes;
        this.perToken = perToken;
        this.fixed = fixed;
        int count = 0;
        for (EpTensor[] tensors : fixed) {
            count += tensors.length;
        }
        this.fixedRows = new long[count];
        int next = 0;
        for (EpTensor[] tensors : fixed) {
            for (EpTensor tensor : tensors) {
                fixedRows[next++] = tensor.rows();
            }
        }
    }

    /**
     * Whether the same was given again, and nothing is against it now.
     *
     * @param t tokens of the last update
     * @param now changes of the device so far
     */
    boolean hold(HandleShape asked, @Nullable Object b, @Nullable Object c, @Nullable Object d, long t, int now) {
        return shape == asked && second == b && third == c && fourth == d
                && (tokens == t && changes == now || stillHold(t, now));
    }

    private boolean stillHold(long t, int now) {
        for (EpTensor tensor : perToken) {
            if (tensor.rows() != t || tensor.isClosed()) {
                return false;
            }
        }
        int next = 0;
        for (EpTensor[] tensors : fixed) {
            for (EpTensor tensor : tensors) {
                if (tensor.rows() != fixedRows[next++] || tensor.isClosed()) {
                    return false;
                }
            }
        }
        tokens = t;
        changes = now;
        return true;
    }
}
