package io.nccl4j.examples.interop;

import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import jcuda.Pointer;
import jcuda.runtime.JCuda;
import jcuda.runtime.cudaError;
import jcuda.runtime.cudaMemcpyKind;
import jcuda.runtime.cudaStream_t;

/** JCuda: its JNI library has a CUDA runtime of its own inside, which shares the device's primary context. */
final class JCudaLibrary implements OtherLibrary {
    /** A pointer that tells its address, or is made from one: JCuda leaves both to subclasses. */
    private static final class At extends Pointer {
        At() {
        }

        At(long value) {
            super(value);
        }

        long address() {
            return getNativePointer();
        }
    }

    private static final class OwnStream extends cudaStream_t {
        long address() {
            return getNativePointer();
        }
    }

    private final Map<Long, OwnStream> streams = new ConcurrentHashMap<>();

    /** JCuda makes no stream from an address. */
    private cudaStream_t stream(long stream) {
        OwnStream own = streams.get(stream);
        if (own == null) {
            throw new IllegalArgumentException("not a stream of JCuda");
        }
        return own;
    }

    private static void check(int status) {
        if (status != cudaError.cudaSuccess) {
            throw new IllegalStateException("JCuda: " + cudaError.stringFor(status));
        }
    }

    @Override
    public String describe() {
        int[] version = new int[1];
        check(JCuda.cudaRuntimeGetVersion(version));
        return "JCuda with CUDA runtime " + version[0];
    }

    @Override
    public void useDevice(int ordinal) {
        check(JCuda.cudaSetDevice(ordinal));
    }

    @Override
    public long allocate(long bytes) {
        At memory = new At();
        check(JCuda.cudaMalloc(memory, bytes));
        return memory.address();
    }

    @Override
    public void free(long address) {
        check(JCuda.cudaFree(new At(address)));
    }

    @Override
    public long createStream() {
        OwnStream stream = new OwnStream();
        check(JCuda.cudaStreamCreate(stream));
        streams.put(stream.address(), stream);
        return stream.address();
    }

    @Override
    public void destroyStream(long stream) {
        check(JCuda.cudaStreamDestroy(stream(stream)));
        streams.remove(stream);
    }

    @Override
    public boolean takesStreams() {
        return false;
    }

    @Override
    public void toDevice(long target, ByteBuffer source, long stream) {
        copyAsync(new At(target), Pointer.to(source), source.remaining(), cudaMemcpyKind.cudaMemcpyHostToDevice,
                stream);
        check(JCuda.cudaStreamSynchronize(stream(stream)));
        Reference.reachabilityFence(source);
    }

    @Override
    public void toHost(ByteBuffer target, long source, long stream) {
        copyAsync(Pointer.to(target), new At(source), target.remaining(), cudaMemcpyKind.cudaMemcpyDeviceToHost,
                stream);
        check(JCuda.cudaStreamSynchronize(stream(stream)));
        Reference.reachabilityFence(target);
    }

    @Override
    public void copyAsync(long target, long source, long bytes, long stream) {
        copyAsync(new At(target), new At(source), bytes, cudaMemcpyKind.cudaMemcpyDeviceToDevice, stream);
    }

    private void copyAsync(Pointer target, Pointer source, long bytes, int kind, long stream) {
        check(JCuda.cudaMemcpyAsync(target, source, bytes, kind, stream(stream)));
    }
}
