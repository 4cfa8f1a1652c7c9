package io.nccl4j.safety.hostile;

import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorMisuse;
import io.nccl4j.emulator.Fault;
import java.time.Duration;
import java.util.List;
import java.util.SplittableRandom;

/** The fault in a hostile sequence that is nobody's mistake: at most one. */
final class HostileFaults {
    private static final List<String> PRESETS = List.of("cudaMalloc", "cudaMemcpyAsync", "cudaMemsetAsync",
            "cudaStreamQuery", "cudaEventRecord", "cudaEventCreateWithFlags", "cudaGraphInstantiate", "cudaGraphLaunch",
            "cudaStreamEndCapture", "cudaStreamBeginCapture", "cudaLaunchHostFunc", "cudaSetDevice", "cudaGetDevice",
            "cudaMallocHost", "cudaMemcpy", "ncclEpUpdateHandle", "ncclEpDispatch", "ncclEpCombine", "ncclEpInitHandle",
            "ncclEpHandleMemSize", "ncclCommWindowRegister", "ncclMemAlloc", "ncclAllReduce", "ncclGroupEnd",
            "ncclCommSplit", "ncclCommGetAsyncError");
    private static final int CUDA_ERROR_MEMORY_ALLOCATION = 2;

    private HostileFaults() {
    }

    /** Lets something go wrong on one of the ranks; what it is called. */
    static String inject(SplittableRandom random, int ranks, boolean messagesAreLost) {
        int victim = random.nextInt(ranks);
        switch (messagesAreLost ? 4 : random.nextInt(4)) {
            case 0 -> {
                Emulator.inject(new Fault.FailAllocation(victim, 1 + random.nextInt(6)));
                return "failed allocation";
            }
            case 1 -> {
                Emulator.inject(new Fault.FailLaunch(victim, 1 + random.nextInt(20)));
                return "failed launch";
            }
            case 2 -> {
                Emulator.inject(new Fault.Delay(victim, 1 + random.nextInt(4), Duration.ofMillis(30)));
                return "slow rank";
            }
            case 3 -> {
                String function = PRESETS.get(random.nextInt(PRESETS.size()));
                int code = function.startsWith("cuda") ? CUDA_ERROR_MEMORY_ALLOCATION : 2 + random.nextInt(2);
                Emulator.presetResult(function, code, random.nextInt(4), 1 + random.nextInt(2));
                return "error of " + function;
            }
            default -> {
                Emulator.inject(new Fault.DropMessages(victim, 1 + random.nextInt(4), (victim + 1) % ranks));
                return "lost messages";
            }
        }
    }

    /** For counting. */
    static String kind(String fault) {
        return fault.startsWith("error of") ? "error code" : fault;
    }

    /**
     * Misuse that remains possible after a fault: the library itself runs out of memory, its waits for ranks that are
     * out of step are ended, or a device has failed since somebody looked.
     *
     * @param outOfStep whether the ranks have gone on alone, so that their collective calls differ
     */
    static boolean explains(EmulatorMisuse misuse, boolean outOfStep) {
        return outOfStep && misuse.text().contains("the ranks called different operations")
                || misuse.text().contains("allocation failed") || misuse.text().contains("were broken")
                || misuse.text().contains("CUDA error") || misuse.text().contains("the device has failed");
    }
}
