package io.nccl4j.ep;

import org.jspecify.annotations.Nullable;

/** The last few combinations of arguments that a handle was called with and that have passed the rules; looked up by identity. */
final class CheckedCalls {
    private final @Nullable CheckedCall[] entries = new @Nullable CheckedCall[8];
    private int next;

    /** Whether a call with the same arguments was checked, and they still have the same rows. */
    boolean contains(Object a, @Nullable Object b, @Nullable Object c, @Nullable Object d, long tokens) {
        for (CheckedCall entry : entries) {
            if (entry != null && entry.isFor(a, b, c, d)) {
                return entry.hasRows(tokens);
            }
        }
        return false;
    }

    /** Remembers a combination in the place of its last check, or else of the oldest one. */
    void add(CheckedCall call) {
        for (int i = 0; i < entries.length; i++) {
            CheckedCall entry = entries[i];
            if (entry != null && entry.isSameAs(call)) {
                entries[i] = call;
                return;
            }
        }
        entries[next] = call;
        next = (next + 1) % entries.length;
    }
}
