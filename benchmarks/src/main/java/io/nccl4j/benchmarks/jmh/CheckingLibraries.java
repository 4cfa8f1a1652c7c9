package io.nccl4j.benchmarks.jmh;

import java.nio.file.Files;
import java.nio.file.Path;

/** The native libraries that the host benchmarks run on, built from {@code benchmarks/native}. */
public final class CheckingLibraries {
    private static final String FOLDER = "nccl4j.ep.native";

    private CheckingLibraries() {
    }

    /** Their folder. */
    public static Path folder() {
        String home = System.getProperty("nccl4j.ep.home", ".");
        Path folder = Path.of(System.getProperty(FOLDER, home + "/benchmarks/target/native")).toAbsolutePath();
        if (!Files.exists(folder.resolve("libnccl_ep.so.0"))) {
            throw new IllegalStateException("no benchmark libraries in " + folder
                    + ": start with ./ep, which builds them, or " + "name their folder with -D" + FOLDER);
        }
        return folder;
    }

    /** Options for a JVM that is to use them. */
    static String[] jvmOptions() {
        return new String[]{"--enable-native-access=ALL-UNNAMED",
                // JMH's own.
                "--sun-misc-unsafe-memory-access=allow", "-Dnccl4j.backend=native", "-Dnccl4j.library.path=" + folder(),
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"};
    }
}
