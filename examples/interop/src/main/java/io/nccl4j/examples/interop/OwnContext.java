package io.nccl4j.examples.interop;

import static org.bytedeco.cuda.global.cudart.CU_CTX_SCHED_YIELD;
import static org.bytedeco.cuda.global.cudart.cuCtxCreate;
import static org.bytedeco.cuda.global.cudart.cuCtxDestroy;
import static org.bytedeco.cuda.global.cudart.cuCtxPopCurrent;
import static org.bytedeco.cuda.global.cudart.cuDeviceGet;
import static org.bytedeco.cuda.global.cudart.cuInit;
import static org.bytedeco.cuda.global.cudart.cuMemAlloc;
import static org.bytedeco.cuda.global.cudart.cuStreamCreate;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import java.time.Duration;
import org.bytedeco.cuda.cudart.CUctxCreateParams;
import org.bytedeco.cuda.cudart.CUctx_st;
import org.bytedeco.cuda.cudart.CUstream_st;

/**
 * Tells how far memory and streams go that belong to a context of their own, as those of TornadoVM's CUDA backend do:
 * cuCtxCreate, cuMemAlloc and cuStreamCreate, used by nccl4j in the device's primary context.
 */
final class OwnContext {
    private static final long BYTES = 4096;

    private OwnContext() {
    }

    static void tell() {
        CudaDevice device = CudaDevice.of(0);
        CUctx_st context = new CUctx_st();
        CUstream_st theirStream = new CUstream_st();
        long[] address = new long[1];
        int[] number = new int[1];
        check("cuInit", cuInit(0));
        check("cuDeviceGet", cuDeviceGet(number, 0));
        check("cuCtxCreate", cuCtxCreate(context, (CUctxCreateParams) null, CU_CTX_SCHED_YIELD, number[0]));
        check("cuMemAlloc", cuMemAlloc(address, BYTES));
        check("cuStreamCreate", cuStreamCreate(theirStream, 0));
        check("cuCtxPopCurrent", cuCtxPopCurrent(new CUctx_st()));

        try (CudaStream ours = CudaStream.create(device);
                PinnedMemory host = PinnedMemory.allocate(device, BYTES);
                DeviceMemory own = DeviceMemory.allocate(device, BYTES);
                DeviceMemory theirs = DeviceMemory.wrap(address[0], BYTES, device)) {
            tell("our copy from the host to their memory, on our stream", ours,
                    () -> theirs.copyFromAsync(host, BYTES, ours));
            tell("our copy from their memory to ours, on our stream", ours,
                    () -> own.copyFromAsync(theirs, BYTES, ours));
            tell("our fill of their memory, on our stream", ours, () -> theirs.fillAsync((byte) 1, ours));
            try (CudaStream wrapped = CudaStream.wrap(theirStream.address(), device)) {
                tell("our fill of our memory, on their stream", wrapped, () -> own.fillAsync((byte) 1, wrapped));
            }
        }
        check("cuCtxDestroy", cuCtxDestroy(context));
    }

    private static void tell(String action, CudaStream stream, Runnable work) {
        String answer = "works";
        try {
            work.run();
            stream.await(Duration.ofSeconds(10));
        } catch (RuntimeException e) {
            answer = e.getMessage();
        }
        System.out.println("INFO own context: " + action + ": " + answer);
    }

    private static void check(String call, int status) {
        if (status != 0) {
            throw new IllegalStateException(call + " answers " + status);
        }
    }
}
