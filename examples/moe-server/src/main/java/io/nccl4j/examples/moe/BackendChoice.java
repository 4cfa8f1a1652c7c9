package io.nccl4j.examples.moe;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraries;
import io.nccl4j.emulator.Emulator;

/** Loads the libraries that a command runs on. */
public final class BackendChoice {
    private BackendChoice() {
    }

    public static void use(Backend backend) {
        if (backend == Backend.EMULATOR) {
            Emulator.use();
        } else {
            NativeLibraries.load();
        }
    }
}
