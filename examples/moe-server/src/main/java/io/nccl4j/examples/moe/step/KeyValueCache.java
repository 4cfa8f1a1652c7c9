package io.nccl4j.examples.moe.step;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.examples.moe.model.ModelConfig;
import java.util.ArrayList;
import java.util.List;

/**
 * Keys and values of all positions of the sequences on a rank, for each layer {@code [slots, kvHeads, context,
 * headSize]}.
 */
final class KeyValueCache implements AutoCloseable {
    private final List<DeviceMemory> keys = new ArrayList<>();
    private final List<DeviceMemory> values = new ArrayList<>();

    KeyValueCache(ModelConfig model, int slots, int context, CudaDevice device) {
        long bytes = (long) slots * model.kvHeads() * context * model.headSize() * Short.BYTES;
        boolean done = false;
        try {
            for (int layer = 0; layer < model.layers(); layer++) {
                keys.add(DeviceMemory.allocate(device, bytes));
                values.add(DeviceMemory.allocate(device, bytes));
            }
            done = true;
        } finally {
            if (!done) {
                close();
            }
        }
    }

    DeviceMemory keys(int layer) {
        return keys.get(layer);
    }

    DeviceMemory values(int layer) {
        return values.get(layer);
    }

    @Override
    public void close() {
        keys.forEach(DeviceMemory::close);
        values.forEach(DeviceMemory::close);
    }
}
