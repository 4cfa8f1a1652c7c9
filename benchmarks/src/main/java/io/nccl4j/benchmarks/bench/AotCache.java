package io.nccl4j.benchmarks.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** An ahead-of-time cache of the JVM (JEP 483, 514): loaded and linked classes of a training run. */
final class AotCache {
    private AotCache() {
    }

    /**
     * Makes a cache from a run of a program.
     *
     * @param command that starts its JVM
     */
    static void make(Path file, List<String> command) throws IOException, InterruptedException {
        Path folder = file.toAbsolutePath().getParent();
        if (folder != null) {
            Files.createDirectories(folder);
        }
        Files.deleteIfExists(file);
        List<String> training = new ArrayList<>(command);
        training.add(1, "-XX:AOTCacheOutput=" + file);
        Path log = Files.createTempFile("ep-aot", ".log");
        try {
            Process process = new ProcessBuilder(training).redirectErrorStream(true).redirectOutput(log.toFile())
                    .start();
            int exitCode = process.waitFor();
            if (exitCode != 0 || !Files.exists(file)) {
                throw new IOException("the training run ended with exit code " + exitCode + " and "
                        + (Files.exists(file) ? "a cache" : "no cache") + ": " + Files.readString(log));
            }
        } finally {
            Files.delete(log);
        }
    }

    /** The options that a JVM needs to use a cache. */
    static String option(Path file) {
        return "-XX:AOTCache=" + file;
    }
}
