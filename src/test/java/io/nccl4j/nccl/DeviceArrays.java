package io.nccl4j.nccl;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** Java arrays to and from device memory, for tests. */
final class DeviceArrays {
    private DeviceArrays() {
    }

    static DeviceMemory ints(CudaDevice device, int... values) {
        DeviceMemory memory = DeviceMemory.allocate(device, 4L * values.length);
        try (Arena arena = Arena.ofConfined()) {
            memory.copyFrom(arena.allocateFrom(JAVA_INT, values));
        }
        return memory;
    }

    static DeviceMemory floats(CudaDevice device, float... values) {
        DeviceMemory memory = DeviceMemory.allocate(device, 4L * values.length);
        try (Arena arena = Arena.ofConfined()) {
            memory.copyFrom(arena.allocateFrom(JAVA_FLOAT, values));
        }
        return memory;
    }

    static int[] ints(DeviceMemory memory) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment host = arena.allocate(memory.byteSize(), 8);
            memory.copyTo(host);
            return host.toArray(JAVA_INT);
        }
    }

    static float[] floats(DeviceMemory memory) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment host = arena.allocate(memory.byteSize(), 8);
            memory.copyTo(host);
            return host.toArray(JAVA_FLOAT);
        }
    }
}
