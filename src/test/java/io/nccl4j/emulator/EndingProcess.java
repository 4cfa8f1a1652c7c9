package io.nccl4j.emulator;

import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.nccl.Bootstrap;
import java.time.Duration;

/** A rank that is to be ended at its second operation; run in a JVM of its own. */
public final class EndingProcess {
    private EndingProcess() {
    }

    /** Prints each operation that is done. */
    public static void main(String[] arguments) {
        Emulator.use();
        Bootstrap bootstrap = Bootstraps.inProcess(1).getFirst();
        try (LowLatencyLayer layer = new LowLatencyLayer(bootstrap, CudaDevice.of(0), Duration.ofSeconds(30))) {
            Emulator.inject(new Fault.EndProcess(0, 2));
            for (int operation = 1; operation <= 2; operation++) {
                layer.dispatch();
                System.out.println("dispatch " + operation + " done");
            }
        }
    }
}
