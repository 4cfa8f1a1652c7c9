package io.nccl4j.nccl;

import io.nccl4j.bindings.nccl.Nccl;
import org.jspecify.annotations.Nullable;

/** The answer of a call of NCCL or NCCL EP, {@code ncclResult_t}. */
public enum NcclResult {
    /** The call did what it should. */
    SUCCESS(Nccl.ncclSuccess(), "ncclSuccess"),
    /** A CUDA call inside of the library failed. */
    UNHANDLED_CUDA_ERROR(Nccl.ncclUnhandledCudaError(), "ncclUnhandledCudaError"),
    /** A call to the operating system failed. */
    SYSTEM_ERROR(Nccl.ncclSystemError(), "ncclSystemError"),
    /** The library found itself in a state that it did not expect. */
    INTERNAL_ERROR(Nccl.ncclInternalError(), "ncclInternalError"),
    /** An argument has a value that is not allowed. */
    INVALID_ARGUMENT(Nccl.ncclInvalidArgument(), "ncclInvalidArgument"),
    /** The call is not allowed in this state, or the ranks do not agree. */
    INVALID_USAGE(Nccl.ncclInvalidUsage(), "ncclInvalidUsage"),
    /** Another rank failed or cannot be reached. */
    REMOTE_ERROR(Nccl.ncclRemoteError(), "ncclRemoteError"),
    /** A non-blocking call has not ended yet. */
    IN_PROGRESS(Nccl.ncclInProgress(), "ncclInProgress"),
    /** The library's own time limit was reached. */
    TIMEOUT(Nccl.ncclTimeout(), "ncclTimeout");

    private final int code;
    private final String cName;

    NcclResult(int code, String cName) {
        this.code = code;
        this.cName = cName;
    }

    /**
     * {@return the result with this code; null for one that this version does not know}
     *
     * @param code the number that C knows it by
     */
    public static @Nullable NcclResult of(int code) {
        for (NcclResult result : values()) {
            if (result.code == code) {
                return result;
            }
        }
        return null;
    }

    /** {@return the number that C knows it by} */
    public int code() {
        return code;
    }

    /** {@return the name that C knows it by} */
    public String cName() {
        return cName;
    }

    /** {@return whether this is a failure; success and {@link #IN_PROGRESS} are not} */
    public boolean isError() {
        return this != SUCCESS && this != IN_PROGRESS;
    }
}
