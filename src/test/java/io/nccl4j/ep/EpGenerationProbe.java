package io.nccl4j.ep;

import io.nccl4j.NativeLibraryException;

/** Asks for the generation of the library that the process was started with. */
public final class EpGenerationProbe {
    private EpGenerationProbe() {
    }

    public static void main(String[] arguments) {
        try {
            System.out.println("generation: " + EpGeneration.ofLibrary());
        } catch (NativeLibraryException e) {
            System.out.println("refused: " + e.getMessage());
        }
    }
}
