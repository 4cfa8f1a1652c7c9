package io.nccl4j.testing;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.Rows;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.stream.LongStream;
import org.jspecify.annotations.Nullable;

/** Pinned host memory beside a tensor that fills its memory, to copy between the two in stream order. */
public final class HostMirror implements AutoCloseable {
    private final DeviceMemory device;
    private final PinnedMemory host;
    private final boolean wide;
    private final int rowBytes;

    /** Allocates the host's side. */
    public HostMirror(EpTensor tensor) {
        device = tensor.memory();
        host = PinnedMemory.allocate(device.device(), tensor.byteSize());
        wide = tensor.type() == DataType.INT64;
        rowBytes = (int) tensor.type().bytes(Arrays.stream(tensor.shape()).reduce((outer, inner) -> inner).orElse(1));
    }

    /** The elements of an int32 tensor that fills its memory; waits. */
    public static int[] ints(EpTensor tensor) {
        try (HostMirror host = new HostMirror(tensor)) {
            return Arrays.stream(host.fetch().integers()).mapToInt(Math::toIntExact).toArray();
        }
    }

    /** The host's side. */
    public MemorySegment host() {
        return host.segment();
    }

    /** Bytes of the innermost extent. */
    public int rowBytes() {
        return rowBytes;
    }

    /** How many rows of the innermost extent there are. */
    public long rowCount() {
        return host.byteSize() / rowBytes;
    }

    /** A row on the host. */
    public byte[] row(long index) {
        return host().asSlice(index * rowBytes, rowBytes).toArray(JAVA_BYTE);
    }

    /** Sets a row on the host. */
    public void row(long index, byte[] row) {
        MemorySegment.copy(row, 0, host(), JAVA_BYTE, index * rowBytes, row.length);
    }

    /** All rows on the host. */
    public Rows rows() {
        return new Rows(host().toArray(JAVA_BYTE), rowBytes);
    }

    /** An element on the host, int64 or int32 as the tensor is. */
    public long integer(long at) {
        return wide ? host().getAtIndex(JAVA_LONG, at) : host().getAtIndex(JAVA_INT, at);
    }

    /** Sets an element on the host. */
    public void integer(long at, long value) {
        if (wide) {
            host().setAtIndex(JAVA_LONG, at, value);
        } else {
            host().setAtIndex(JAVA_INT, at, Math.toIntExact(value));
        }
    }

    /** All elements on the host. */
    public long[] integers() {
        return LongStream.range(0, host.byteSize() / (wide ? Long.BYTES : Integer.BYTES)).map(this::integer).toArray();
    }

    /** A float32 element on the host. */
    public float floats(long at) {
        return host().getAtIndex(JAVA_FLOAT, at);
    }

    /** Sets a float32 element on the host. */
    public void floats(long at, float value) {
        host().setAtIndex(JAVA_FLOAT, at, value);
    }

    /** All elements on the host. */
    public float[] floats() {
        return host().toArray(JAVA_FLOAT);
    }

    /** Enqueues copies of those that are not null. */
    static void toDevice(CudaStream stream, @Nullable HostMirror... mirrors) {
        for (HostMirror mirror : mirrors) {
            if (mirror != null) {
                mirror.toDevice(stream);
            }
        }
    }

    /** Enqueues a copy of all of it to the device. */
    public void toDevice(CudaStream stream) {
        toDevice(host.byteSize(), stream);
    }

    /** Enqueues a copy of the first bytes to the device. */
    public void toDevice(long bytes, CudaStream stream) {
        device.copyFromAsync(host, bytes, stream);
    }

    /** Enqueues a copy of all of it to the host. */
    public void toHost(CudaStream stream) {
        device.copyToAsync(host, host.byteSize(), stream);
    }

    /** Copies all of it to the host at once; no work may write it. */
    public HostMirror fetch() {
        device.copyTo(host());
        return this;
    }

    @Override
    public void close() {
        host.close();
    }
}
