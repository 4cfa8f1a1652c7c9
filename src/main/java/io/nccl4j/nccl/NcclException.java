package io.nccl4j.nccl;

import io.nccl4j.NativeCallException;
import io.nccl4j.bindings.nccl.Nccl;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/** A call of NCCL or NCCL EP failed; {@link #code()} is the {@code ncclResult_t}. */
public final class NcclException extends NativeCallException {
    private static final long serialVersionUID = 1L;

    private NcclException(String function, int code, String message) {
        super(function, code, message);
    }

    /**
     * {@return the exception for what a call answered, with NCCL's own words: {@code ncclGetErrorString} and, if it has
     * something to say, {@code ncclGetLastError}} To be called on the thread that made the call, before it makes
     * another.
     *
     * @param function the C function
     * @param code what it returned, not success
     * @param communicator names the communicator concerned, if there is one
     */
    public static NcclException of(String function, int code, @Nullable Object communicator) {
        NcclResult result = NcclResult.of(code);
        StringBuilder message = new StringBuilder(communicator == null ? function : function + " on " + communicator)
                .append(" failed with ").append(result == null ? "an unknown code" : result.cName()).append(" (")
                .append(code).append("): ").append(string(Nccl.ncclGetErrorString(code)));
        // NCCL takes a communicator here and does not look at it, so that one that is gone does no harm.
        String last = string(Nccl.ncclGetLastError(MemorySegment.NULL)).strip();
        if (!last.isEmpty()) {
            message.append("; NCCL says: ").append(last);
        }
        return new NcclException(function, code, message.toString());
    }

    /**
     * Throws {@link #of} for a status other than success.
     *
     * @param function the C function
     * @param status what it returned
     * @param communicator names the communicator concerned, if there is one
     */
    public static void check(String function, int status, @Nullable Object communicator) {
        if (status != 0) {
            throw of(function, status, communicator);
        }
    }

    /** A later call on a communicator that has failed for good: fails at once, with the first failure as its cause. */
    static NcclException after(NcclException first, Object communicator) {
        NcclException e = new NcclException(first.function(), first.code(), communicator
                + " has failed before and can only be " + "aborted or closed. First failure: " + first.getMessage());
        e.initCause(first);
        return e;
    }

    private static String string(MemorySegment text) {
        return text.address() == 0 ? "" : text.getString(0);
    }

    /** {@return the result that the code stands for; null for one that this version does not know} */
    public @Nullable NcclResult result() {
        return NcclResult.of(code());
    }
}
