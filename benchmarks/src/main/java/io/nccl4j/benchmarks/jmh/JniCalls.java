package io.nccl4j.benchmarks.jmh;

/** The dispatch call over JNI, {@code benchmarks/native/jni_calls.c}. */
final class JniCalls {
    static {
        System.load(CheckingLibraries.folder().resolve("libjni_calls.so").toString());
    }

    private JniCalls() {
    }

    /** Takes the address of {@code ncclEpDispatch}; false if it is 0. */
    static native boolean link(long symbol);

    static native int dispatch(long handle, long inputs, long outputs, long layoutInfo, long config, long stream);
}
