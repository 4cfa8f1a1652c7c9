package io.nccl4j.internal;

import io.nccl4j.NativeLibraryException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The native libraries that this process has loaded, by whomever. A library that is there already is the one to use: a
 * second copy of it would have a second state. A JVM gives a library to one class loader at a time.
 */
final class ProcessLibraries {
    /** Names the class loader that has loaded last, for the others: a property is what all of them see. */
    private static final String LOADER = "nccl4j.loaded.by";

    private ProcessLibraries() {
    }

    /** The file of the library that the process has under this soname; null if it has none, or does not tell. */
    static @Nullable Path find(String soname) {
        try (Stream<String> lines = Files.lines(Path.of("/proc/self/maps"))) {
            return lines.filter(line -> line.indexOf('/') >= 0).map(line -> Path.of(line.substring(line.indexOf('/'))))
                    .filter(path -> path.getFileName() != null && path.getFileName().toString().startsWith(soname))
                    .findFirst().orElse(null);
        } catch (IOException e) {
            return null;
        }
    }

    /**
     * Loads a file into this class loader.
     *
     * @throws UnsatisfiedLinkError in the dynamic linker's words
     * @throws NativeLibraryException if another class loader has it, or the process has another copy
     */
    static void load(Path file, String soname) {
        Path present = find(soname);
        if (present != null && !isSame(present, file)) {
            throw inUse(present, "not loading a second copy, " + file);
        }
        try {
            System.load(file.toString());
        } catch (UnsatisfiedLinkError e) {
            if (String.valueOf(e.getMessage()).contains("another classloader")) {
                throw inUse(file, "not loading it again");
            }
            throw e;
        }
        System.setProperty(LOADER, name(ProcessLibraries.class.getClassLoader()));
    }

    private static boolean isSame(Path one, Path other) {
        try {
            return Files.isSameFile(one, other);
        } catch (IOException e) {
            // Deleted after it was loaded, as the emulator is.
            return false;
        }
    }

    private static NativeLibraryException inUse(Path file, String refusal) {
        String other = System.getProperty(LOADER);
        return new NativeLibraryException(file + " is in use by "
                + (other == null ? "other code of this process" : "the class loader " + other + " of this JVM") + ": "
                + refusal
                + ". Let both use one nccl4j in a class loader that they share, or drop the other class loader "
                + "first", List.of());
    }

    private static String name(@Nullable ClassLoader loader) {
        if (loader == null) {
            return "bootstrap";
        }
        return loader.getName() == null ? loader.toString() : "'" + loader.getName() + "'";
    }
}
