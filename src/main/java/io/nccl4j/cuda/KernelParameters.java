package io.nccl4j.cuda;

import io.nccl4j.bindings.cudart.CudaRuntime;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;

/** The parameter list of one kernel, as its compiler laid it out. */
final class KernelParameters {
    private final String kernel;
    private final int[] offsets;
    private final int[] sizes;

    private KernelParameters(String kernel, int[] offsets, int[] sizes) {
        this.kernel = kernel;
        this.offsets = offsets;
        this.sizes = sizes;
    }

    /** CUDA tells no number of parameters: they are asked for until there is none. */
    static KernelParameters of(CudaDevice device, MemorySegment function, String kernel) {
        List<Integer> offsets = new ArrayList<>();
        List<Integer> sizes = new ArrayList<>();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment offset = arena.allocate(ValueLayout.JAVA_LONG);
            MemorySegment size = arena.allocate(ValueLayout.JAVA_LONG);
            while (true) {
                int status = CudaRuntime.cudaFuncGetParamInfo(function, sizes.size(), offset, size);
                if (status == CudaRuntime.cudaErrorInvalidValue()) {
                    CudaRuntime.cudaGetLastError();
                    return new KernelParameters(kernel, ints(offsets), ints(sizes));
                }
                device.check(status, "cudaFuncGetParamInfo");
                offsets.add(Math.toIntExact(offset.get(ValueLayout.JAVA_LONG, 0)));
                sizes.add(Math.toIntExact(size.get(ValueLayout.JAVA_LONG, 0)));
            }
        }
    }

    private static int[] ints(List<Integer> values) {
        return values.stream().mapToInt(Integer::intValue).toArray();
    }

    String kernel() {
        return kernel;
    }

    int count() {
        return sizes.length;
    }

    int offset(int index) {
        return offsets[index];
    }

    int size(int index) {
        checkIndex(index);
        return sizes[index];
    }

    /** The bytes from the first parameter to the end of the last. */
    int byteSize() {
        return count() == 0 ? 0 : offsets[count() - 1] + sizes[count() - 1];
    }

    void check(int index, long bytes, String setter) {
        checkIndex(index);
        if (sizes[index] != bytes) {
            throw new IllegalArgumentException(setter + ": parameter " + index + " of kernel '" + kernel + "' has "
                    + sizes[index] + " bytes, and " + bytes + " were given. Its parameters: " + this);
        }
    }

    private void checkIndex(int index) {
        if (index < 0 || index >= sizes.length) {
            throw new IllegalArgumentException("parameter " + index + ": kernel '" + kernel + "' has " + sizes.length
                    + (sizes.length == 0 ? "" : ", numbered from 0: " + this));
        }
    }

    /** {@code 0: 8 bytes, 1: 4 bytes}. */
    @Override
    public String toString() {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < sizes.length; i++) {
            text.append(i == 0 ? "" : ", ").append(i).append(": ").append(sizes[i]).append(" bytes");
        }
        return text.toString();
    }
}
