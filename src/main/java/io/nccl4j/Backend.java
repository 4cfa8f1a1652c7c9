package io.nccl4j;

/** Which implementation of the CUDA runtime, NCCL and NCCL EP a JVM uses. Chosen once, before the first native call. */
public enum Backend {
    /** The real libraries, {@code libcudart}, {@code libnccl} and {@code libnccl_ep}: the default. */
    NATIVE,
    /**
     * The CPU emulator. Never chosen by itself: only by the system property {@code nccl4j.backend=emulator}, the
     * environment variable {@code NCCL4J_BACKEND=emulator} or {@link NativeLibraries#use}.
     */
    EMULATOR
}
