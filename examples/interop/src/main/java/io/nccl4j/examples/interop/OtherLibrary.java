package io.nccl4j.examples.interop;

import java.nio.ByteBuffer;

/** CUDA as another Java library has it, by addresses. Buffers are direct. A call that fails throws. */
interface OtherLibrary {
    /** {@return name and version of the CUDA runtime that it calls} */
    String describe();

    /** Makes a device the calling thread's own in this library. */
    void useDevice(int ordinal);

    long allocate(long bytes);

    void free(long address);

    long createStream();

    void destroyStream(long stream);

    /** {@return whether it takes streams that it has not created} */
    boolean takesStreams();

    /** Copies in the order of a stream, and waits for it. */
    void toDevice(long target, ByteBuffer source, long stream);

    /** Copies in the order of a stream, and waits for it. */
    void toHost(ByteBuffer target, long source, long stream);

    void copyAsync(long target, long source, long bytes, long stream);
}
