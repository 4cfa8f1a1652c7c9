package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.NativeObject;
import io.nccl4j.bindings.dlpack.DLDataType;
import io.nccl4j.bindings.dlpack.DLDevice;
import io.nccl4j.bindings.dlpack.DLManagedTensorVersioned;
import io.nccl4j.bindings.dlpack.DLPackVersion;
import io.nccl4j.bindings.dlpack.DLTensor;
import io.nccl4j.bindings.dlpack.Dlpack;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.slf4j.LoggerFactory;

/**
 * Tensors given to and taken from other libraries of the process by DLPack 1, {@code DLManagedTensorVersioned}, without
 * a copy. Streams are not part of it: work of the giver that writes the tensor is to be ordered before the taker's, by
 * an event or a wait.
 */
public final class DlpackExchange {
    /** Tensors that takers have, by the address of their struct, which lives as long as it is here. */
    private static final Map<Long, Given> GIVEN = new ConcurrentHashMap<>();

    private DlpackExchange() {
    }

    private record Given(MemorySegment struct, NativeObject hold) {
    }

    /** Made when the first tensor is given. */
    private static final class Deleter {
        private static final MemorySegment STUB = DLManagedTensorVersioned.deleter.allocate(DlpackExchange::taken,
                Arena.global());
    }

    /**
     * Gives a tensor, with its present rows. The memory stays open until the taker calls the tensor's {@code deleter},
     * once and from any thread. From any thread.
     *
     * @param tensor {@code [rows, ...]}, at any address
     * @return the address of a {@code DLManagedTensorVersioned}, for one taker
     * @throws IllegalStateException if the tensor's memory or window is closed
     */
    public static long give(EpTensor tensor) {
        DeviceMemory memory = tensor.memory();
        long[] shape = tensor.shape();
        long[] strides = new long[shape.length];
        long stride = 1;
        for (int i = shape.length - 1; i >= 0; i--) {
            strides[i] = stride;
            stride *= shape[i];
        }
        DlpackType type = DlpackType.of(tensor.type());
        long size = DLManagedTensorVersioned.sizeof();
        MemorySegment struct = Arena.ofAuto().allocate(size + 2 * JAVA_LONG.byteSize() * shape.length,
                JAVA_LONG.byteSize());
        DLPackVersion.major(DLManagedTensorVersioned.version(struct), Dlpack.DLPACK_MAJOR_VERSION());
        DLPackVersion.minor(DLManagedTensorVersioned.version(struct), Dlpack.DLPACK_MINOR_VERSION());
        MemorySegment described = DLManagedTensorVersioned.dl_tensor(struct);
        DLTensor.data(described, MemorySegment.ofAddress(tensor.address()));
        DLDevice.device_type(DLTensor.device(described), Dlpack.kDLCUDA());
        DLDevice.device_id(DLTensor.device(described), memory.device().ordinal());
        DLTensor.ndim(described, shape.length);
        DLDataType.code(DLTensor.dtype(described), (byte) type.code());
        DLDataType.bits(DLTensor.dtype(described), (byte) type.bits());
        DLDataType.lanes(DLTensor.dtype(described), (short) type.lanes());
        MemorySegment extents = struct.asSlice(size);
        MemorySegment.copy(shape, 0, extents, JAVA_LONG, 0, shape.length);
        MemorySegment.copy(strides, 0, extents, JAVA_LONG, JAVA_LONG.byteSize() * shape.length, shape.length);
        DLTensor.shape(described, extents);
        DLTensor.strides(described, extents.asSlice(JAVA_LONG.byteSize() * shape.length));
        DLManagedTensorVersioned.deleter(struct, Deleter.STUB);
        GIVEN.put(struct.address(), new Given(struct, memory.slice(0, memory.byteSize())));
        return struct.address();
    }

    /** The deleter. An exception would end the JVM. */
    private static void taken(MemorySegment struct) {
        try {
            Given given = GIVEN.remove(struct.address());
            if (given != null) {
                given.hold.close();
            }
        } catch (RuntimeException e) {
            LoggerFactory.getLogger("io.nccl4j.dlpack").error("a tensor that was given back stays allocated", e);
        }
    }

    /**
     * Takes a tensor. Closing its {@link EpTensor#memory() memory} waits for the device and gives the tensor back by
     * its {@code deleter}, on the thread that closes. From any thread.
     *
     * @param address of a {@code DLManagedTensorVersioned}, such as a Python capsule {@code dltensor_versioned} holds,
     *     which nobody else takes
     * @return a tensor over the same memory
     * @throws IllegalArgumentException if it is not contiguous, writable, on a CUDA device and of a type of
     *     {@link DataType}: it stays the giver's; or if it is of another major version of DLPack: it has been given
     *     back
     */
    public static EpTensor take(long address) {
        if (address == 0) {
            throw new IllegalArgumentException("the address of a DLManagedTensorVersioned is NULL");
        }
        MemorySegment struct = MemorySegment.ofAddress(address).reinterpret(DLManagedTensorVersioned.sizeof());
        MemorySegment deleter = DLManagedTensorVersioned.deleter(struct);
        int version = DLPackVersion.major(DLManagedTensorVersioned.version(struct));
        if (version != Dlpack.DLPACK_MAJOR_VERSION()) {
            giveBack(deleter, struct);
            throw refused("is of version " + version + " of DLPack", "version " + Dlpack.DLPACK_MAJOR_VERSION());
        }
        MemorySegment described = DLManagedTensorVersioned.dl_tensor(struct);
        long flags = DLManagedTensorVersioned.flags(struct);
        if ((flags & Dlpack.DLPACK_FLAG_BITMASK_READ_ONLY()) != 0) {
            throw refused("is read-only", "writable; a copy of it is");
        }
        int device = DLDevice.device_type(DLTensor.device(described));
        if (device != Dlpack.kDLCUDA()) {
            throw refused("is on a device of type " + device, "on a CUDA device, type " + Dlpack.kDLCUDA());
        }
        DataType type = DlpackType.read(DLTensor.dtype(described), flags);
        long[] shape = extents(DLTensor.shape(described), DLTensor.ndim(described));
        checkContiguous(shape, DLTensor.strides(described));
        long bytes = Arrays.stream(shape).reduce(type.byteSize(), Math::multiplyExact);
        if (bytes == 0) {
            throw refused("is empty, " + Arrays.toString(shape), "of at least one element");
        }
        DeviceMemory memory = DeviceMemory.adopt(DLTensor.data(described).address() + DLTensor.byte_offset(described),
                bytes, CudaDevice.of(DLDevice.device_id(DLTensor.device(described))),
                ignored -> giveBack(deleter, struct));
        return EpTensor.of(memory, type, shape);
    }

    private static void giveBack(MemorySegment deleter, MemorySegment struct) {
        if (deleter.address() != 0) {
            DLManagedTensorVersioned.deleter.invoke(deleter, struct);
        }
    }

    private static long[] extents(MemorySegment values, int count) {
        if (count < 1) {
            throw refused("has " + count + " dimensions", "one at least");
        }
        return values.reinterpret(JAVA_LONG.byteSize() * count).toArray(JAVA_LONG);
    }

    private static void checkContiguous(long[] shape, MemorySegment values) {
        if (values.address() == 0) {
            return;
        }
        long[] strides = extents(values, shape.length);
        long stride = 1;
        for (int i = shape.length - 1; i >= 0; i--) {
            if (shape[i] > 1 && strides[i] != stride) {
                throw refused("has shape " + Arrays.toString(shape) + " and strides " + Arrays.toString(strides),
                        "contiguous, rows first; a copy of it is");
            }
            stride *= shape[i];
        }
    }

    static IllegalArgumentException refused(String given, String allowed) {
        return new IllegalArgumentException("a DLPack tensor " + given + ": must be " + allowed);
    }
}
