package io.nccl4j.libraries;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.NativeLibraries;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.Logger;

/** What happens on first use, in JVMs of their own: libraries there, missing, broken, or native access not granted. */
class LibraryLoadingTest {
    @TempDir
    Path folder;

    private record Outcome(int exit, List<String> lines) {
        String all() {
            return String.join("\n", lines);
        }
    }

    @Test
    void aMissingLibraryIsOneExceptionThatListsEveryPlaceAndPoisonsNothing() throws Exception {
        Outcome outcome = probe("-Dnccl4j.library.path=" + folder);
        assertThat(outcome.exit).isZero();
        assertThat(outcome.lines).contains("backend: NATIVE", "available: false");
        assertThat(outcome.lines.stream().filter(line -> line.startsWith("exception: cannot load lib")))
                .as("the second use gives the same answer, no NoClassDefFoundError").hasSize(2);
        assertThat(outcome.all()).contains("-Dnccl4j.library.path", "-Dnccl4j.backend=emulator", folder + ": no lib",
                "NCCL4J_LIBRARY_PATH: not set", "dynamic linker's path");
    }

    @Test
    void aBrokenLibraryIsReportedInTheLinkersWords() throws Exception {
        Files.writeString(folder.resolve("libcudart.so.13"), "not a library at all");
        Outcome outcome = probe("-Dnccl4j.library.path=" + folder);
        assertThat(outcome.all()).contains(folder.resolve("libcudart.so.13") + ": ").containsAnyOf("file too short",
                "invalid ELF header");
    }

    /** The emulator's file stands in for libcudart and, in the second JVM, for libnccl. */
    @Test
    void eachPartWorksWhereTheOthersLibrariesAreAbsent() throws Exception {
        String emulator = System.getProperty("nccl4j.emulator.library");
        String allowed = "--enable-native-access=ALL-UNNAMED";
        Outcome cudaAlone = run(PartsProbe.class, List.of(allowed, "-Dnccl4j.library.path=" + folder,
                "-Dnccl4j.cudart.library=" + emulator, "-Dnccl4j.nccl.library=" + folder.resolve("none")));
        assertThat(cudaAlone.lines).contains("cuda: replayed 7", "kernels: []", "available: false");
        assertThat(cudaAlone.all()).contains("\nnccl: cannot load libnccl.so.2", "\nep: cannot load libnccl.so.2");
        Outcome withNccl = run(PartsProbe.class,
                List.of(allowed, "-Dnccl4j.library.path=" + folder, "-Dnccl4j.cudart.library=" + emulator,
                        "-Dnccl4j.nccl.library=" + emulator, "-Dnccl4j.nccl_ep.library=" + folder.resolve("none")));
        assertThat(withNccl.lines).contains("cuda: replayed 7", "nccl: 128 bytes", "available: false");
        assertThat(withNccl.all()).contains("\nep: cannot load libnccl_ep.so.0");
    }

    @Test
    void theEmulatorRunsWhenAskedFor() throws Exception {
        Outcome outcome = probe("-Dnccl4j.backend=emulator",
                "-Dnccl4j.emulator.library=" + System.getProperty("nccl4j.emulator.library"));
        assertThat(outcome.lines).contains("backend: EMULATOR", "devices: 64", "available: true");
        assertThat(outcome.all()).contains("describe: backend EMULATOR", "libnccl4j_emulator.so", "CUDA runtime 13000");
    }

    @Test
    void theEmulatorIsFoundOnTheClassPath() throws Exception {
        Outcome outcome = probe("-Dnccl4j.backend=emulator");
        assertThat(outcome.lines).contains("devices: 64");
    }

    @Test
    void theNativeAccessFlagIsNamedWhenItIsMissing() throws Exception {
        Outcome outcome = run(LibraryProbe.class, List.of("--illegal-native-access=deny", "-Dnccl4j.backend=emulator"));
        assertThat(outcome.all())
                .contains("native access is not allowed: start the JVM with " + "--enable-native-access=ALL-UNNAMED");
    }

    @Test
    void anUnknownBackendIsRefusedByName() throws Exception {
        assertThat(probe("-Dnccl4j.backend=cpu").all()).contains("unknown backend 'cpu'", "'native' or 'emulator'");
    }

    private static Outcome probe(String... options) throws IOException, InterruptedException {
        List<String> all = new ArrayList<>(List.of("--enable-native-access=ALL-UNNAMED"));
        all.addAll(List.of(options));
        return run(LibraryProbe.class, all);
    }

    private static Outcome run(Class<?> program, List<String> options) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(options);
        command.addAll(List.of("-cp", classPath(), program.getName()));
        Path output = Files.createTempFile("probe", ".txt");
        try {
            ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true)
                    .redirectOutput(output.toFile());
            builder.environment().keySet().removeIf(name -> name.startsWith("NCCL4J_") || name.startsWith("CUDA_"));
            builder.environment().remove("NCCL_HOME");
            builder.environment().remove("LD_LIBRARY_PATH");
            Process process = builder.start();
            boolean ended = process.waitFor(60, TimeUnit.SECONDS);
            process.destroyForcibly();
            assertThat(ended).isTrue();
            return new Outcome(process.exitValue(), Files.readAllLines(output));
        } finally {
            Files.delete(output);
        }
    }

    private static String classPath() {
        return Stream.of(locationOf(NativeLibraries.class), Path.of("target", "test-classes").toAbsolutePath(),
                locationOf(Logger.class)).map(Path::toString).collect(Collectors.joining(File.pathSeparator));
    }

    private static Path locationOf(Class<?> type) {
        return Path.of(java.net.URI.create(type.getProtectionDomain().getCodeSource().getLocation().toString()));
    }
}
