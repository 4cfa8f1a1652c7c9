package io.nccl4j.libraries;

import io.nccl4j.NativeLibraries;
import io.nccl4j.NativeLibraryException;
import io.nccl4j.cuda.CudaDevice;
import java.io.File;
import java.util.List;
import java.util.Objects;

/** A user's program on first use; run in a JVM of its own. Each line is {@code name: message}. */
public final class LibraryProbe {
    private LibraryProbe() {
    }

    public static void main(String[] arguments) {
        System.out.println("backend: " + describeBackend());
        for (int attempt = 0; attempt < 2; attempt++) {
            try {
                NativeLibraries.load();
                System.out.println("devices: " + CudaDevice.count());
            } catch (NativeLibraryException e) {
                System.out.println("exception: " + e.getMessage());
            }
        }
        System.out.println("available: " + NativeLibraries.isAvailable());
        if (NativeLibraries.isAvailable()) {
            System.out.println("temporary files: "
                    + List.of(Objects.requireNonNull(new File(System.getProperty("java.io.tmpdir")).list())).stream()
                            .filter(name -> name.startsWith("nccl4j-")).toList());
            System.out.println("describe: " + NativeLibraries.describe().replace('\n', ' '));
        }
    }

    private static String describeBackend() {
        try {
            return NativeLibraries.backend().toString();
        } catch (NativeLibraryException e) {
            return e.getMessage();
        }
    }
}
