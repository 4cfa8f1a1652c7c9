package io.nccl4j.examples.moe.kernels;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import java.lang.foreign.ValueLayout;

/**
 * The data of a step about its rows: one block of pinned memory that one copy brings to the device. Rows without a
 * token have the slot -1.
 */
public final class RowInputs implements AutoCloseable {
    private static final int ROW_BYTES = Long.BYTES + 3 * Integer.BYTES + Float.BYTES;

    private final int maxRows;
    private final PinnedMemory host;
    private final DeviceMemory device;
    private final DeviceMemory seeds;
    private final DeviceMemory tokens;
    private final DeviceMemory slots;
    private final DeviceMemory positions;
    private final DeviceMemory temperatures;

    public RowInputs(CudaDevice on, int maxRows) {
        this.maxRows = maxRows;
        this.host = PinnedMemory.allocate(on, bytes());
        this.device = DeviceMemory.allocate(on, bytes());
        long ints = (long) maxRows * Integer.BYTES;
        long after = (long) maxRows * Long.BYTES;
        this.seeds = device.slice(0, after);
        this.tokens = device.slice(after, ints);
        this.slots = device.slice(after + ints, ints);
        this.positions = device.slice(after + 2 * ints, ints);
        this.temperatures = device.slice(after + 3 * ints, ints);
    }

    private long bytes() {
        return (long) maxRows * ROW_BYTES;
    }

    /** Sets a row in host memory; not while a step is running. */
    public void set(int row, int token, int slot, int position, float temperature, long seed) {
        host.segment().setAtIndex(ValueLayout.JAVA_LONG, row, seed);
        int first = 2 * maxRows + row;
        host.segment().setAtIndex(ValueLayout.JAVA_INT, first, token);
        host.segment().setAtIndex(ValueLayout.JAVA_INT, first + maxRows, slot);
        host.segment().setAtIndex(ValueLayout.JAVA_INT, first + 2L * maxRows, position);
        host.segment().setAtIndex(ValueLayout.JAVA_FLOAT, first + 3L * maxRows, temperature);
    }

    /** Makes all rows from {@code first} on rows without a token. */
    public void clearFrom(int first) {
        for (int row = first; row < maxRows; row++) {
            set(row, 0, -1, 0, 0, 0);
        }
    }

    /** Enqueues the copy to the device. Capturable. */
    public void copy(CudaStream stream) {
        device.copyFromAsync(host, bytes(), stream);
    }

    /** int32 {@code [rows]}. */
    DeviceMemory tokens() {
        return tokens;
    }

    /** Which sequence's cache a row uses, -1 for none: int32 {@code [rows]}. */
    DeviceMemory slots() {
        return slots;
    }

    /** Position of a row's token in its sequence: int32 {@code [rows]}. */
    DeviceMemory positions() {
        return positions;
    }

    /** 0 for the best token: float32 {@code [rows]}. */
    DeviceMemory temperatures() {
        return temperatures;
    }

    /** int64 {@code [rows]}. */
    DeviceMemory seeds() {
        return seeds;
    }

    @Override
    public void close() {
        seeds.close();
        tokens.close();
        slots.close();
        positions.close();
        temperatures.close();
        device.close();
        host.close();
    }
}
