package io.nccl4j.emulator;

/** A kernel as a Java function, registered with {@link Emulator#kernel}. */
@FunctionalInterface
public interface KernelImplementation {
    /**
     * Does what all blocks of one launch do. Runs in stream order on a thread of the emulator, at the launch or, if
     * that was captured, at each replay. Must not call CUDA, NCCL or nccl4j, nor wait for anything that does. An
     * exception leaves the device lost, as a crash of a kernel does on a GPU; it is logged, and the next failing call
     * tells it.
     */
    void run(KernelLaunch launch);
}
