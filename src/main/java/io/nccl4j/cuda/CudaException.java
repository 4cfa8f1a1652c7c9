package io.nccl4j.cuda;

import io.nccl4j.NativeCallException;
import io.nccl4j.bindings.cudart.CudaRuntime;
import java.lang.foreign.MemorySegment;

/** A CUDA runtime call failed; {@link #code()} is the {@code cudaError_t}. */
public final class CudaException extends NativeCallException {
    private static final long serialVersionUID = 1L;

    private CudaException(String function, int code, String message) {
        super(function, code, message);
    }

    static CudaException of(String function, int code, Object where) {
        return of(function, code, where, "");
    }

    /** @param advice follows the text that CUDA gives */
    static CudaException of(String function, int code, Object where, String advice) {
        String name = string(CudaRuntime.cudaGetErrorName(code));
        String text = string(CudaRuntime.cudaGetErrorString(code));
        return new CudaException(function, code,
                function + " on " + where + " failed with " + name + " (" + code + "): " + text + advice);
    }

    /** A later call on a device that has failed for good: fails at once, with the first failure as its cause. */
    static CudaException after(CudaException first, Object device) {
        CudaException e = new CudaException(first.function(), first.code(),
                device + " has failed before and can only be " + "reset, or given up with its process. First failure: "
                        + first.getMessage());
        e.initCause(first);
        return e;
    }

    private static String string(MemorySegment text) {
        return text.address() == 0 ? "?" : text.getString(0);
    }

    /**
     * {@return whether the error stays with the device: every later call on it fails as well}
     *
     * @see CudaDevice#failure()
     */
    public boolean isSticky() {
        return isSticky(code());
    }

    static boolean isSticky(int code) {
        return code == CudaRuntime.cudaErrorIllegalAddress() || code == CudaRuntime.cudaErrorLaunchFailure()
                || code == CudaRuntime.cudaErrorLaunchTimeout() || code == CudaRuntime.cudaErrorAssert()
                || code == CudaRuntime.cudaErrorHardwareStackError()
                || code == CudaRuntime.cudaErrorIllegalInstruction() || code == CudaRuntime.cudaErrorMisalignedAddress()
                || code == CudaRuntime.cudaErrorInvalidAddressSpace() || code == CudaRuntime.cudaErrorInvalidPc()
                || code == CudaRuntime.cudaErrorECCUncorrectable() || code == CudaRuntime.cudaErrorNvlinkUncorrectable()
                || code == CudaRuntime.cudaErrorContained();
    }
}
