package io.nccl4j.examples.moe.step;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.examples.moe.model.ModelConfig;
import io.nccl4j.examples.moe.model.RotaryTable;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;

/** The memory in which the kernels of a step hand data to each other, at maximum size and at fixed addresses. */
final class StepMemory implements AutoCloseable {
    private final CudaDevice device;
    private final List<DeviceMemory> owned = new ArrayList<>();
    /** The residual stream, bfloat16 {@code [rows, hidden]}. */
    final DeviceMemory residual;
    /** Its norm before attention and before the head. */
    final DeviceMemory normed;
    /** Queries, keys and values, bfloat16 {@code [rows, (heads + 2 kvHeads) headSize]}. */
    final DeviceMemory qkv;
    /** The outputs of attention, bfloat16 {@code [rows, heads headSize]}. */
    final DeviceMemory attended;
    /** The same after the output projection, bfloat16 {@code [rows, hidden]}. */
    final DeviceMemory projected;
    /** float32 {@code [rows, experts]}. */
    final DeviceMemory routerLogits;
    /** Inner rows of the experts, bfloat16 {@code [localExperts, capacity, expertWidth]}. */
    final DeviceMemory activated;
    /** float32 {@code [rows, vocabulary]}. */
    final DeviceMemory logits;
    /** int32 {@code [rows]}. */
    final DeviceMemory sampled;
    /** Cosines and sines, float32 {@code [context, headSize]}. */
    final DeviceMemory rotations;

    StepMemory(ModelConfig model, int maxRows, int localExperts, int capacity, int context, CudaDevice device) {
        this.device = device;
        boolean done = false;
        try {
            residual = rows(maxRows, model.hidden(), Short.BYTES);
            normed = rows(maxRows, model.hidden(), Short.BYTES);
            qkv = rows(maxRows, model.qkvWidth(), Short.BYTES);
            attended = rows(maxRows, model.queryWidth(), Short.BYTES);
            projected = rows(maxRows, model.hidden(), Short.BYTES);
            routerLogits = rows(maxRows, model.experts(), Float.BYTES);
            activated = rows((long) localExperts * capacity, model.expertWidth(), Short.BYTES);
            logits = rows(maxRows, model.vocabulary(), Float.BYTES);
            sampled = rows(maxRows, 1, Integer.BYTES);
            rotations = rows(context, model.headSize(), Float.BYTES);
            try (Arena arena = Arena.ofConfined()) {
                rotations.copyFrom(arena.allocateFrom(JAVA_FLOAT, RotaryTable.of(model, context)));
            }
            done = true;
        } finally {
            if (!done) {
                close();
            }
        }
    }

    private DeviceMemory rows(long count, long elements, int bytes) {
        DeviceMemory memory = DeviceMemory.allocate(device, count * elements * bytes);
        owned.add(memory);
        return memory;
    }

    /** Bytes that it takes. */
    static long bytes(ModelConfig model, int maxRows, int localExperts, int capacity, int context) {
        long row = 2L * (3 * model.hidden() + model.qkvWidth() + model.queryWidth())
                + 4L * (model.experts() + model.vocabulary() + 1);
        return maxRows * row + 2L * localExperts * capacity * model.expertWidth() + 4L * context * model.headSize();
    }

    @Override
    public void close() {
        owned.forEach(DeviceMemory::close);
    }
}
