package io.nccl4j.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraries;
import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.HotCalls;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Kernels of one's own on one device, {@code cudaLibrary_t}: the answer to how experts are run between dispatch and
 * combine.
 *
 * <p>All kernels are loaded onto the device with the module, none at its first launch, which could block inside of a
 * capture or while another rank is waited for. A graph that captured a launch keeps the module from being closed. On
 * the emulator, a module has every kernel that was registered with {@code Emulator.kernel}, whatever its image.
 */
public final class CudaModule extends DeviceResource {
    private static final long ALIGNMENT = 64;

    private final Map<String, CudaKernel> kernels = new TreeMap<>();

    private CudaModule(long library, CudaDevice device) {
        super("CudaModule", library, device, true);
    }

    /**
     * Loads an image and its kernels, {@code cudaLibraryLoadData}.
     *
     * @param device the device
     * @param image a cubin, a fatbin, or PTX text, which takes the driver about a second to compile
     * @return the module
     * @throws IllegalArgumentException if it is none of these, or not complete
     * @throws CudaException if the image has no code for the device, or CUDA refuses it
     */
    public static CudaModule load(CudaDevice device, byte[] image) {
        KernelImage.check(image);
        CaptureScope.refuse("CudaModule.load", "load modules before the capture");
        device.checkUsable();
        HotCalls.linkKernel();
        return device.call(() -> {
            CudaModule module = new CudaModule(loadLibrary(device, image), device);
            try {
                module.loadKernels();
                return module;
            } catch (RuntimeException | Error e) {
                module.close();
                throw e;
            }
        });
    }

    private static long loadLibrary(CudaDevice device, byte[] image) {
        try (Arena arena = Arena.ofConfined()) {
            // PTX ends with a NUL, which allocate has put there.
            MemorySegment code = arena.allocate(image.length + 1L, ALIGNMENT);
            MemorySegment.copy(image, 0, code, JAVA_BYTE, 0, image.length);
            MemorySegment out = arena.allocate(ADDRESS);
            int status = CudaRuntime.cudaLibraryLoadData(out, code, MemorySegment.NULL, MemorySegment.NULL, 0,
                    MemorySegment.NULL, MemorySegment.NULL, 0);
            if (status != 0) {
                throw loadFailed(device, status, "cudaLibraryLoadData(" + image.length + " bytes)");
            }
            return out.get(ADDRESS, 0).address();
        }
    }

    private void loadKernels() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment count = arena.allocate(JAVA_INT);
            checkLoad(CudaRuntime.cudaLibraryGetKernelCount(count, pointer()), "cudaLibraryGetKernelCount");
            int number = count.get(JAVA_INT, 0);
            if (number == 0) {
                checkFits(arena);
            }
            MemorySegment all = arena.allocate(ADDRESS, number);
            checkLoad(CudaRuntime.cudaLibraryEnumerateKernels(all, number, pointer()), "cudaLibraryEnumerateKernels");
            MemorySegment name = arena.allocate(ADDRESS);
            for (int i = 0; i < number; i++) {
                MemorySegment function = all.getAtIndex(ADDRESS, i);
                checkLoad(CudaRuntime.cudaFuncGetName(name, function), "cudaFuncGetName");
                add(function, name.get(ADDRESS, 0).reinterpret(Long.MAX_VALUE).getString(0));
            }
        }
    }

    /** An image that is damaged or for other devices seems to have no kernels; asking for any tells which it is. */
    private void checkFits(Arena arena) {
        int status = CudaRuntime.cudaLibraryGetKernel(arena.allocate(ADDRESS), pointer(), arena.allocateFrom("none"));
        if (status == CudaRuntime.cudaErrorSymbolNotFound()) {
            CudaRuntime.cudaGetLastError();
        } else {
            checkLoad(status, "cudaLibraryGetKernel");
        }
    }

    private CudaKernel add(MemorySegment function, String name) {
        CudaKernel kernel = new CudaKernel(this, device(), function, name);
        kernels.put(name, kernel);
        return kernel;
    }

    private void checkLoad(int status, String function) {
        if (status != 0) {
            throw loadFailed(device(), status, function);
        }
    }

    static CudaException loadFailed(CudaDevice device, int status, String function) {
        String advice = "";
        if (status == CudaRuntime.cudaErrorNoKernelImageForDevice()) {
            int major = device.attribute(DeviceAttribute.COMPUTE_CAPABILITY_MAJOR);
            int minor = device.attribute(DeviceAttribute.COMPUTE_CAPABILITY_MINOR);
            advice = "; compile it for compute capability " + major + "." + minor + " (nvcc -gencode arch=compute_"
                    + major + minor + ",code=sm_" + major + minor + ") or add PTX of that or a lower one";
        } else if (status == CudaRuntime.cudaErrorInvalidKernelImage()) {
            advice = "; the image is damaged";
        } else if (status == CudaRuntime.cudaErrorInvalidPtx()) {
            advice = "; the driver cannot compile the PTX text: does ptxas accept it, and is the driver as new as the "
                    + "compiler?";
        }
        return device.failed(status, function, advice);
    }

    /**
     * {@return the kernel of that name, the same object each time, {@code cudaLibraryGetKernel}} From any thread.
     *
     * @param name as in the image: that of a C++ function which is not {@code extern "C"} is mangled
     * @throws IllegalArgumentException if there is none; the message names those there are
     */
    public CudaKernel kernel(String name) {
        checkUsable("CudaModule.kernel");
        synchronized (kernels) {
            CudaKernel known = kernels.get(name);
            return known != null ? known : device().call(() -> find(name));
        }
    }

    private CudaKernel find(String name) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ADDRESS);
            int status = CudaRuntime.cudaLibraryGetKernel(out, pointer(), arena.allocateFrom(name));
            if (status == CudaRuntime.cudaErrorSymbolNotFound()) {
                CudaRuntime.cudaGetLastError();
                throw new IllegalArgumentException("there is no kernel '" + name + "' in " + this + ", which has "
                        + kernelNames()
                        + (NativeLibraries.backend() == Backend.EMULATOR
                                ? "; on the emulator, kernels are Java functions: register it with Emulator.kernel"
                                : "; the name of a C++ function is mangled unless it is extern \"C\""));
            }
            checkLoad(status, "cudaLibraryGetKernel");
            return add(out.get(ADDRESS, 0), name);
        }
    }

    /** {@return the names of the kernels, {@code cudaLibraryEnumerateKernels}, in alphabetical order} */
    public List<String> kernelNames() {
        address();
        synchronized (kernels) {
            return List.copyOf(kernels.keySet());
        }
    }

    /** Refuses a use of its code, which is gone after a close or a reset. */
    void checkUsable(String call) {
        address();
        checkNotReset(call);
    }

    @Override
    void destroy(MemorySegment self) {
        device().checkCurrent("cudaLibraryUnload", () -> CudaRuntime.cudaLibraryUnload(self));
    }
}
