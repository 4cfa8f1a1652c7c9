package io.nccl4j.cuda;

import io.nccl4j.bindings.cudart.CudaRuntime;

/** The calls that a stream capture forbids to others, {@code cudaStreamCaptureMode}. */
public enum CaptureMode {
    /**
     * Calls that might synchronise are an error in every thread of the process while the capture lasts, and break it:
     * to allocate or free, to wait for any stream or event or ask whether it is done, to instantiate a graph or close
     * its executable.
     */
    GLOBAL(CudaRuntime.cudaStreamCaptureModeGlobal()),
    /** Such calls are an error in the capturing thread only. */
    THREAD_LOCAL(CudaRuntime.cudaStreamCaptureModeThreadLocal()),
    /**
     * Such calls are allowed: the default here. With ranks as threads a {@link #GLOBAL} capture of one would break the
     * others, and the first use of an EP operation loads code.
     */
    RELAXED(CudaRuntime.cudaStreamCaptureModeRelaxed());

    private final int code;

    CaptureMode(int code) {
        this.code = code;
    }

    int code() {
        return code;
    }
}
