package io.nccl4j.libraries;

import io.nccl4j.NativeLibraries;
import io.nccl4j.NativeLibraryException;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaModule;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.EpGeneration;
import io.nccl4j.nccl.UniqueId;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.util.function.Supplier;

/** Uses one part of nccl4j after the other, some of whose libraries may be absent; run in a JVM of its own. */
public final class PartsProbe {
    private PartsProbe() {
    }

    public static void main(String[] arguments) {
        tell("cuda", PartsProbe::replay);
        tell("kernels", PartsProbe::loadModule);
        tell("nccl", () -> UniqueId.create().toBytes().length + " bytes");
        tell("ep", () -> EpGeneration.ofLibrary().toString());
        System.out.println("available: " + NativeLibraries.isAvailable());
    }

    private static void tell(String part, Supplier<String> answer) {
        try {
            System.out.println(part + ": " + answer.get());
        } catch (NativeLibraryException e) {
            System.out.println(part + ": " + e.getMessage());
        }
    }

    private static String replay() {
        CudaDevice device = CudaDevice.of(0);
        device.makeCurrent();
        try (CudaStream stream = CudaStream.create(device);
                DeviceMemory memory = DeviceMemory.allocate(device, 1);
                PinnedMemory result = PinnedMemory.allocate(device, 1);
                CudaGraph graph = stream.capture(() -> {
                    memory.fillAsync((byte) 7, stream);
                    memory.copyToAsync(result, 1, stream);
                });
                CudaGraphExec exec = graph.instantiate()) {
            exec.launch(stream);
            stream.synchronize();
            return "replayed " + result.segment().get(ValueLayout.JAVA_BYTE, 0);
        }
    }

    private static String loadModule() {
        try (CudaModule module = CudaModule.load(CudaDevice.of(0),
                ".version 9.0".getBytes(StandardCharsets.US_ASCII))) {
            return module.kernelNames().toString();
        }
    }
}
