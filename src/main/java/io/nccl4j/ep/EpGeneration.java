package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.NativeLibraryException;
import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpTensor;
import io.nccl4j.internal.LibraryLoader;
import io.nccl4j.internal.Out;
import io.nccl4j.nccl.NcclException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.slf4j.LoggerFactory;

/**
 * The releases of NCCL EP that nccl4j works with. API version 1, which calls itself 0.1.0 as well, is not among them.
 */
public enum EpGeneration {
    /** API version 2, as of August 2026; calls itself 0.1.0. */
    API_V2,
    /** Release 0.2.0: separate numbers of SMs for dispatch and combine. */
    RELEASE_0_2_0;

    private static final int VERSION_0_2_0 = 200;
    private static final AtomicBoolean UNKNOWN_TOLD = new AtomicBoolean();

    /** Whether dispatch and combine can have numbers of SMs of their own, up to those of the device. */
    boolean hasSeparateSms() {
        return this != API_V2;
    }

    /**
     * {@return the generation of the loaded library; of one that is newer than all of these the newest, which a line in
     * the log tells once}
     *
     * @throws NativeLibraryException if it is one that nccl4j does not work with
     */
    public static EpGeneration ofLibrary() {
        LibraryLoader.loadNcclEp();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ADDRESS);
            NcclException.check("ncclEpTensorAlloc",
                    NcclEp.ncclEpTensorAlloc(out, 1, 0, arena.allocateFrom(JAVA_LONG, 1), MemorySegment.NULL), null);
            MemorySegment tensor = out.get(ADDRESS, 0).reinterpret(ncclEpTensor.sizeof());
            // API version 1 does not look at the size; later ones refuse this one, and leave the tensor alive.
            ncclEpTensor.size(tensor, 8);
            if (NcclEp.ncclEpTensorDestroy(tensor) == 0) {
                throw new NativeLibraryException(
                        "the NCCL EP library that was loaded has API version 1 (release 0.1.0 of "
                                + "NVIDIA/nccl's contrib/nccl_ep): install NCCL EP of NVIDIA/nccl-extensions, which "
                                + "has version 2",
                        List.of());
            }
            ncclEpTensor.size(tensor, (int) ncclEpTensor.sizeof());
            NcclEp.ncclEpTensorDestroy(tensor);
            return ofVersion(libraryVersion());
        }
    }

    /** @param version of a library that is not of API version 1 */
    static EpGeneration ofVersion(int version) {
        if (version > VERSION_0_2_0 && UNKNOWN_TOLD.compareAndSet(false, true)) {
            // Not in a constant: java -jar asks for the generation without slf4j, too.
            LoggerFactory.getLogger(EpGeneration.class).warn(
                    "NCCL EP has version {}, newer than all that nccl4j knows: used as {}", version, RELEASE_0_2_0);
        }
        return version < VERSION_0_2_0 ? API_V2 : RELEASE_0_2_0;
    }

    /**
     * {@return the answer of {@code ncclEpGetVersion}: 100 for API version 2 as for version 1, 200 for release 0.2.0}
     */
    public static int libraryVersion() {
        LibraryLoader.loadNcclEp();
        return Out.ofInt(out -> NcclException.check("ncclEpGetVersion", NcclEp.ncclEpGetVersion(out), null));
    }
}
