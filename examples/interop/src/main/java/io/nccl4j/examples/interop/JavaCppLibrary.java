package io.nccl4j.examples.interop;

import static org.bytedeco.cuda.global.cudart.cudaFree;
import static org.bytedeco.cuda.global.cudart.cudaGetErrorString;
import static org.bytedeco.cuda.global.cudart.cudaMalloc;
import static org.bytedeco.cuda.global.cudart.cudaMemcpyAsync;
import static org.bytedeco.cuda.global.cudart.cudaMemcpyDeviceToDevice;
import static org.bytedeco.cuda.global.cudart.cudaMemcpyDeviceToHost;
import static org.bytedeco.cuda.global.cudart.cudaMemcpyHostToDevice;
import static org.bytedeco.cuda.global.cudart.cudaRuntimeGetVersion;
import static org.bytedeco.cuda.global.cudart.cudaSetDevice;
import static org.bytedeco.cuda.global.cudart.cudaStreamCreate;
import static org.bytedeco.cuda.global.cudart.cudaStreamDestroy;
import static org.bytedeco.cuda.global.cudart.cudaStreamSynchronize;

import io.nccl4j.NativeLibraries;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;

/** JavaCPP's presets for CUDA: their JNI library needs {@code libcudart.so.13}, the one that nccl4j calls. */
final class JavaCppLibrary implements OtherLibrary {
    /**
     * Names the folder of the CUDA runtime that nccl4j has loaded to JavaCPP, before its first use: it would load
     * {@code /usr/local/cuda/lib64/libcudart.so.13} where there is one, a second copy, and nccl4j's functions could be
     * of either.
     */
    static void useCudaOfNccl4j() {
        NativeLibraries.describe().lines().filter(line -> line.startsWith("/")).map(Path::of)
                .filter(file -> file.getFileName().toString().matches("lib(cudart|nccl4j_emulator)\\.so.*"))
                .forEach(file -> System.setProperty("org.bytedeco.javacpp.platform.linkpath",
                        file.getParent().toString()));
    }

    /** A pointer at an address of another library. */
    private static final class At extends Pointer {
        At(long value) {
            address = value;
        }
    }

    private static CUstream_st stream(long stream) {
        return new CUstream_st(new At(stream));
    }

    private static void check(int status) {
        if (status != 0) {
            throw new IllegalStateException("JavaCPP: " + cudaGetErrorString(status).getString());
        }
    }

    @Override
    public String describe() {
        int[] version = new int[1];
        check(cudaRuntimeGetVersion(version));
        return "JavaCPP with CUDA runtime " + version[0];
    }

    @Override
    public void useDevice(int ordinal) {
        check(cudaSetDevice(ordinal));
    }

    @Override
    public long allocate(long bytes) {
        BytePointer memory = new BytePointer();
        check(cudaMalloc(memory, bytes));
        return memory.address();
    }

    @Override
    public void free(long address) {
        check(cudaFree(new At(address)));
    }

    @Override
    public long createStream() {
        CUstream_st stream = new CUstream_st();
        check(cudaStreamCreate(stream));
        return stream.address();
    }

    @Override
    public void destroyStream(long stream) {
        check(cudaStreamDestroy(stream(stream)));
    }

    @Override
    public boolean takesStreams() {
        return true;
    }

    @Override
    public void toDevice(long target, ByteBuffer source, long stream) {
        check(cudaMemcpyAsync(new At(target), new BytePointer(source), source.remaining(), cudaMemcpyHostToDevice,
                stream(stream)));
        check(cudaStreamSynchronize(stream(stream)));
        Reference.reachabilityFence(source);
    }

    @Override
    public void toHost(ByteBuffer target, long source, long stream) {
        check(cudaMemcpyAsync(new BytePointer(target), new At(source), target.remaining(), cudaMemcpyDeviceToHost,
                stream(stream)));
        check(cudaStreamSynchronize(stream(stream)));
        Reference.reachabilityFence(target);
    }

    @Override
    public void copyAsync(long target, long source, long bytes, long stream) {
        check(cudaMemcpyAsync(new At(target), new At(source), bytes, cudaMemcpyDeviceToDevice, stream(stream)));
    }
}
