package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpTensor;
import io.nccl4j.internal.LibraryLoader;
import io.nccl4j.nccl.NcclException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The releases of NCCL EP that differ in behaviour. Both call themselves version 0.1.0 and export the same functions. */
public enum EpGeneration {
    /** Release 0.1.0, API version 1. */
    V0_1_0,
    /** API version 2. */
    API_V2;

    /** The generation of the loaded library. */
    public static EpGeneration ofLibrary() {
        LibraryLoader.loadNcclEp();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ADDRESS);
            int status = NcclEp.ncclEpTensorAlloc(out, 1, 0, arena.allocateFrom(JAVA_LONG, 1), MemorySegment.NULL);
            if (status != 0) {
                throw NcclException.of("ncclEpTensorAlloc", status, null);
            }
            MemorySegment tensor = out.get(ADDRESS, 0).reinterpret(ncclEpTensor.sizeof());
            // Only API v2 looks at the size, and then leaves the tensor alive.
            ncclEpTensor.size(tensor, 8);
            if (NcclEp.ncclEpTensorDestroy(tensor) == 0) {
                return V0_1_0;
            }
            ncclEpTensor.size(tensor, (int) ncclEpTensor.sizeof());
            NcclEp.ncclEpTensorDestroy(tensor);
            return API_V2;
        }
    }

    /** What {@code ncclEpGetVersion} answers: 100 for both generations. */
    public static int libraryVersion() {
        LibraryLoader.loadNcclEp();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_INT);
            int status = NcclEp.ncclEpGetVersion(out);
            if (status != 0) {
                throw NcclException.of("ncclEpGetVersion", status, null);
            }
            return out.get(JAVA_INT, 0);
        }
    }
}
