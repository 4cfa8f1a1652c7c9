package io.nccl4j.examples.moe.kernels;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraries;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaModule;
import io.nccl4j.examples.moe.emulated.EmulatedKernels;
import io.nccl4j.examples.moe.model.ModelException;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;

/** Loads the kernels: the fatbin of this jar on a GPU, Java functions of the same names on the emulator. */
final class KernelImage {
    private static final String RESOURCE = "moe.fatbin";

    private KernelImage() {
    }

    static CudaModule load(CudaDevice device) {
        if (NativeLibraries.backend() == Backend.EMULATOR) {
            EmulatedKernels.register();
            return CudaModule.load(device, ".version of no image: kernels in Java".getBytes(StandardCharsets.US_ASCII));
        }
        try (InputStream image = KernelImage.class.getResourceAsStream(RESOURCE)) {
            if (image == null) {
                throw new ModelException("this jar was built where nvcc is missing and has no kernels for GPUs: "
                        + "build it with CUDA's toolkit, or run on the emulator");
            }
            return CudaModule.load(device, image.readAllBytes());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
