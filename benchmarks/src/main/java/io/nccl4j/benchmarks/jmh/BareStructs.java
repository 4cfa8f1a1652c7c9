package io.nccl4j.benchmarks.jmh;

import io.nccl4j.NativeLibraries;
import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpCombineInputs_t;
import io.nccl4j.bindings.ncclep.ncclEpCombineOutputs_t;
import io.nccl4j.bindings.ncclep.ncclEpDispatchConfig_t;
import io.nccl4j.bindings.ncclep.ncclEpDispatchInputs_t;
import io.nccl4j.bindings.ncclep.ncclEpDispatchOutputs_t;
import io.nccl4j.bindings.ncclep.ncclEpLayoutInfo_t;
import io.nccl4j.bindings.ncclep.ncclEpTensor_t;
import java.lang.foreign.Arena;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** Addresses of structs with nothing but size and magic, made once and never freed. */
final class BareStructs {
    final long object;
    final long topkIdx;
    final long layoutInfo;
    final long dispatchInputs;
    final long dispatchOutputs;
    final long dispatchConfig;
    final long combineInputs;
    final long combineOutputs;

    BareStructs() {
        NativeLibraries.load();
        object = Arena.global().allocate(64).address();
        topkIdx = struct(ncclEpTensor_t.layout(), NcclEp.NCCL_EP_TENSOR_MAGIC());
        layoutInfo = struct(ncclEpLayoutInfo_t.layout(), NcclEp.NCCL_EP_MAGIC());
        dispatchInputs = struct(ncclEpDispatchInputs_t.layout(), NcclEp.NCCL_EP_MAGIC());
        dispatchOutputs = struct(ncclEpDispatchOutputs_t.layout(), NcclEp.NCCL_EP_MAGIC());
        dispatchConfig = struct(ncclEpDispatchConfig_t.layout(), NcclEp.NCCL_EP_MAGIC());
        combineInputs = struct(ncclEpCombineInputs_t.layout(), NcclEp.NCCL_EP_MAGIC());
        combineOutputs = struct(ncclEpCombineOutputs_t.layout(), NcclEp.NCCL_EP_MAGIC());
    }

    private static long struct(MemoryLayout layout, int magic) {
        MemorySegment struct = Arena.global().allocate(layout);
        struct.set(ValueLayout.JAVA_INT, 0, (int) layout.byteSize());
        struct.set(ValueLayout.JAVA_INT, 4, magic);
        return struct.address();
    }

    /** Refuses a status other than success: what fails measures nothing. */
    static int succeed(int status) {
        if (status != 0) {
            throw new AssertionError("status " + status);
        }
        return status;
    }
}
