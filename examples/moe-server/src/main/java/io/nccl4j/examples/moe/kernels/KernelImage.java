package io.nccl4j.examples.moe.kernels;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraries;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaModule;
import io.nccl4j.cuda.DeviceAttribute;
import io.nccl4j.examples.moe.emulated.EmulatedKernels;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Loads the kernels. On a GPU: the fatbin of this jar, or, if it was built where nvcc is missing, what NVRTC makes of
 * the sources in it. On the emulator: Java functions of the same names.
 */
final class KernelImage {
    private static final Logger LOG = LoggerFactory.getLogger(KernelImage.class);

    private KernelImage() {
    }

    static CudaModule load(CudaDevice device) {
        if (NativeLibraries.backend() == Backend.EMULATOR) {
            EmulatedKernels.register();
            return CudaModule.load(device, ".version of no image: kernels in Java".getBytes(StandardCharsets.US_ASCII));
        }
        byte[] image = resource("moe.fatbin");
        return CudaModule.load(device, image == null ? compiled(device) : image);
    }

    private static byte[] compiled(CudaDevice device) {
        long begin = System.nanoTime();
        byte[] image = new RuntimeCompiler().compile(source("moe.cu"),
                Map.of("attention.cuh", source("attention.cuh"), "gemm.cuh", source("gemm.cuh"), "numbers.cuh",
                        source("numbers.cuh")),
                10 * device.attribute(DeviceAttribute.COMPUTE_CAPABILITY_MAJOR)
                        + device.attribute(DeviceAttribute.COMPUTE_CAPABILITY_MINOR));
        LOG.info("the kernels were compiled for {} in {} ms", device, (System.nanoTime() - begin) / 1_000_000);
        return image;
    }

    private static String source(String name) {
        byte[] bytes = resource(name);
        if (bytes == null) {
            throw new IllegalStateException("this jar lacks " + name);
        }
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private static byte @Nullable [] resource(String name) {
        try (InputStream stream = KernelImage.class.getResourceAsStream(name)) {
            return stream == null ? null : stream.readAllBytes();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
