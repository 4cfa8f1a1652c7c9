package io.nccl4j.cuda;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.bindings.cudart.cudaFuncAttributes;
import io.nccl4j.internal.HotCalls;
import io.nccl4j.internal.Out;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;
import org.jspecify.annotations.Nullable;

/**
 * A kernel of a {@link CudaModule}, {@code cudaKernel_t}. Lives as long as its module. Launches of one kernel may come
 * from several threads, each with {@link KernelArguments} and a stream of its own.
 */
public final class CudaKernel {
    /** Of all compute capabilities since 3.0. */
    private static final int MAX_GRID_Y_Z = 65_535;
    private static final int MAX_BLOCK_Z = 64;

    private final CudaModule module;
    private final CudaDevice device;
    private final long function;
    private final KernelParameters parameters;
    private final int maxThreads;
    private final int registers;
    private final long staticSharedBytes;
    private volatile int maxDynamicSharedBytes;

    /** Asks for the attributes, which loads the kernel's code onto the device; that is current. */
    CudaKernel(CudaModule module, CudaDevice device, MemorySegment function, String name) {
        this.module = module;
        this.device = device;
        this.function = function.address();
        this.parameters = KernelParameters.of(device, function, name);
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment attributes = cudaFuncAttributes.allocate(arena);
            int status = CudaRuntime.cudaFuncGetAttributes(attributes, function);
            if (status != 0) {
                throw CudaModule.loadFailed(device, status, "cudaFuncGetAttributes(" + name + ")");
            }
            this.maxThreads = cudaFuncAttributes.maxThreadsPerBlock(attributes);
            this.registers = cudaFuncAttributes.numRegs(attributes);
            this.staticSharedBytes = cudaFuncAttributes.sharedSizeBytes(attributes);
            this.maxDynamicSharedBytes = cudaFuncAttributes.maxDynamicSharedSizeBytes(attributes);
        }
    }

    /** {@return the name in the image; that of a C++ function which is not {@code extern "C"} is mangled} */
    public String name() {
        return parameters.kernel();
    }

    /** {@return number of parameters, found with {@code cudaFuncGetParamInfo}} */
    public int parameterCount() {
        return parameters.count();
    }

    /**
     * {@return size in bytes of a parameter, {@code cudaFuncGetParamInfo}}
     *
     * @param index number of the parameter, from 0
     */
    public int parameterSize(int index) {
        return parameters.size(index);
    }

    /** {@return the most threads that a block of it can have, given its registers} */
    public int maxThreadsPerBlock() {
        return maxThreads;
    }

    /**
     * Arguments for launches, none of them set. Make them once: changing and launching them allocates nothing.
     *
     * @return the arguments
     */
    public KernelArguments arguments() {
        module.checkUsable("CudaKernel.arguments");
        return new KernelArguments(parameters);
    }

    /**
     * Allows launches with this much dynamic shared memory on its device, {@code cudaFuncSetAttribute}: needed for more
     * than 48 KiB.
     *
     * @param bytes number of bytes
     * @throws IllegalArgumentException if the device has less
     */
    public void maxDynamicSharedMemory(int bytes) {
        module.checkUsable("CudaKernel.maxDynamicSharedMemory");
        long limit = device.attribute(DeviceAttribute.MAX_SHARED_MEMORY_PER_BLOCK_BYTES) - staticSharedBytes;
        if (bytes < 0 || bytes > limit) {
            throw new IllegalArgumentException(
                    bytes + " bytes of dynamic shared memory: kernel '" + name() + "' can have 0 to " + limit + " on "
                            + device + ", where it has " + staticSharedBytes + " bytes of its own");
        }
        device.checkCurrent("cudaFuncSetAttribute",
                () -> CudaRuntime.cudaFuncSetAttribute(MemorySegment.ofAddress(function),
                        CudaRuntime.cudaFuncAttributeMaxDynamicSharedMemorySize(), bytes));
        maxDynamicSharedBytes = bytes;
    }

    /**
     * {@return blocks that run on one multiprocessor at a time, {@code cudaOccupancyMaxActiveBlocksPerMultiprocessor}:
     * times {@link DeviceAttribute#MULTIPROCESSORS} it is the largest grid that runs at once}
     *
     * @param threads per block, 1 to {@link #maxThreadsPerBlock()}
     * @param sharedBytes dynamic shared memory per block
     * @throws IllegalArgumentException if a block cannot have as many
     */
    public int maxActiveBlocks(int threads, int sharedBytes) {
        module.checkUsable("CudaKernel.maxActiveBlocks");
        if (threads < 1 || threads > maxThreads || sharedBytes < 0 || sharedBytes > maxDynamicSharedBytes) {
            throw new IllegalArgumentException("blocks of " + threads + " threads with " + sharedBytes
                    + " bytes of dynamic shared memory: kernel '" + name() + "' can have 1 to " + maxThreads
                    + " threads and 0 to " + maxDynamicSharedBytes + " bytes");
        }
        return Out.ofInt(out -> device.checkCurrent("cudaOccupancyMaxActiveBlocksPerMultiprocessor",
                () -> CudaRuntime.cudaOccupancyMaxActiveBlocksPerMultiprocessor(out, MemorySegment.ofAddress(function),
                        threads, sharedBytes)));
    }

    /**
     * {@link #launch(CudaStream, Dim3, Dim3, int, KernelArguments)} without dynamic shared memory.
     *
     * @param stream the stream that the work is enqueued on
     * @param grid blocks
     * @param block threads of a block
     * @param arguments the arguments, all of them set
     */
    public void launch(CudaStream stream, Dim3 grid, Dim3 block, KernelArguments arguments) {
        launch(stream, grid, block, 0, arguments);
    }

    /**
     * Enqueues the kernel, {@code cudaLaunchKernelExC}, with the values that the arguments have now. Capturable;
     * allocates nothing. On a platform thread, the stream's device must be the current one.
     *
     * @param stream the stream that the work is enqueued on
     * @param grid blocks; y and z are at most 65,535
     * @param block threads; at most {@link #maxThreadsPerBlock()} in all, and 64 in z
     * @param sharedBytes dynamic shared memory per block
     * @param arguments the arguments, all of them set
     * @throws IllegalArgumentException if the geometry is not possible, or the arguments or the stream are not this
     *     kernel's
     * @throws IllegalStateException if an argument was never set, the module or memory among the arguments is closed or
     *     gone with a reset, or the stream belongs to another thread
     * @throws CudaException if CUDA refuses the launch
     */
    public void launch(CudaStream stream, Dim3 grid, Dim3 block, int sharedBytes, KernelArguments arguments) {
        module.checkUsable("CudaKernel.launch");
        stream.checkThread("CudaKernel.launch");
        if (arguments.parameters() != parameters) {
            throw new IllegalArgumentException(arguments + " were made by another kernel than " + this);
        }
        if (stream.device() != device) {
            throw new IllegalArgumentException(this + " cannot be launched on " + stream);
        }
        String impossible = impossible(grid, block, sharedBytes);
        if (impossible != null) {
            throw new IllegalArgumentException("kernel '" + name() + "' with grid " + grid + ", block " + block + ", "
                    + sharedBytes + " bytes of dynamic shared memory: " + impossible);
        }
        arguments.checkReady(device);
        long config = arguments.configure(grid, block, sharedBytes, stream.address());
        int status = Thread.currentThread().isVirtual()
                ? device.call(() -> HotCalls.launchKernel(config, function, arguments.pointers()))
                : HotCalls.launchKernel(config, function, arguments.pointers());
        Reference.reachabilityFence(arguments);
        if (status != 0) {
            throw launchFailed(status, grid, block, sharedBytes);
        }
        if (stream.isCapturing()) {
            stream.retain(module);
            arguments.retain(stream);
        }
    }

    /** A launch that is not possible: the reason; null for others. */
    private @Nullable String impossible(Dim3 grid, Dim3 block, int sharedBytes) {
        if (grid.y() > MAX_GRID_Y_Z || grid.z() > MAX_GRID_Y_Z) {
            return "a grid has at most " + MAX_GRID_Y_Z + " blocks in y and in z; use x for more";
        }
        if (block.z() > MAX_BLOCK_Z) {
            return "a block has at most " + MAX_BLOCK_Z + " threads in z";
        }
        // As a double, which cannot overflow.
        double threads = (double) block.x() * block.y() * block.z();
        if (threads > maxThreads) {
            return (long) threads + " threads per block, and with " + registers
                    + " registers per thread it can have at most " + maxThreads;
        }
        return sharedBytes >= 0 && sharedBytes <= maxDynamicSharedBytes
                ? null
                : "0 to " + maxDynamicSharedBytes + " bytes are allowed; call maxDynamicSharedMemory first for more";
    }

    private CudaException launchFailed(int status, Dim3 grid, Dim3 block, int sharedBytes) {
        device.checkUsable();
        String advice = "";
        if (status == CudaRuntime.cudaErrorInvalidResourceHandle()) {
            advice = "; is " + device + " current on this thread? CudaDevice.makeCurrent() makes it so";
        } else if (status == CudaRuntime.cudaErrorLaunchOutOfResources()) {
            advice = "; it has " + registers + " registers per thread and " + staticSharedBytes
                    + " bytes of shared memory";
        }
        return device.failed(status, "cudaLaunchKernelExC(" + name() + ", grid " + grid + ", block " + block + ", "
                + sharedBytes + " bytes shared)", advice);
    }

    @Override
    public String toString() {
        return "CudaKernel '" + name() + "' of " + module;
    }
}
