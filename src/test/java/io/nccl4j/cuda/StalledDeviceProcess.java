package io.nccl4j.cuda;

import io.nccl4j.emulator.Emulator;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/**
 * A device whose work does not end while twenty objects are closed, and then the stream that the work is on and pinned
 * memory, whose native end would wait for it; and one whose work ends again.
 */
final class StalledDeviceProcess {
    private static final int OBJECTS = 20;

    private StalledDeviceProcess() {
    }

    public static void main(String[] arguments) {
        Emulator.use();
        CudaDevice device = CudaDevice.of(0);
        CudaStream stream = CudaStream.create(device);
        List<DeviceMemory> memory = new ArrayList<>();
        for (int i = 0; i <= OBJECTS; i++) {
            memory.add(DeviceMemory.allocate(device, 64));
        }
        Gate gate = Gate.on(stream);
        long start = System.nanoTime();
        memory.subList(0, OBJECTS).forEach(DeviceMemory::close);
        long limits = Math.round((System.nanoTime() - start) / 1e9);
        System.out.println("limits " + (limits < OBJECTS / 2 ? "do not add up" : "added up to " + limits + " s")
                + ", freed " + Emulator.callCount("cudaFree"));
        PinnedMemory pinned = PinnedMemory.allocate(device, 64);
        stream.close();
        pinned.close();
        System.out.println("freed " + Emulator.callCount("cudaFreeHost") + " after its stream was closed");
        gate.close();
        while (!device.awaitEnqueued(Duration.ofSeconds(20))) {
            Thread.onSpinWait();
        }
        memory.getLast().close();
        System.out.println("freed " + Emulator.callCount("cudaFree") + " when the work had ended");
        System.exit(0);
    }
}
