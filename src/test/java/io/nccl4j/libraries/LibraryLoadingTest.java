package io.nccl4j.libraries;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.NativeLibraries;
import io.nccl4j.processes.ProgramRun;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.zip.Deflater;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.Logger;

/** The first use, in JVMs of their own: libraries there, missing, broken, or native access not granted. */
class LibraryLoadingTest {
    @TempDir
    Path folder;

    @Test
    void aMissingLibraryIsOneExceptionThatListsEveryPlaceAndPoisonsNothing() throws Exception {
        ProgramRun outcome = probe("-Dnccl4j.library.path=" + folder);
        assertThat(outcome.exitCode()).isZero();
        assertThat(outcome.lines()).contains("backend: NATIVE", "available: false");
        assertThat(outcome.lines().stream().filter(line -> line.startsWith("exception: cannot load lib")))
                .as("the second use gives the same answer, no NoClassDefFoundError").hasSize(2);
        assertThat(outcome.all()).contains("-Dnccl4j.library.path", "-Dnccl4j.backend=emulator", folder + ": no lib",
                "NCCL4J_LIBRARY_PATH: not set", "dynamic linker's path");
    }

    @Test
    void aBrokenLibraryIsReportedInTheLinkersWords() throws Exception {
        Files.writeString(folder.resolve("libcudart.so.13"), "not a library at all");
        ProgramRun outcome = probe("-Dnccl4j.library.path=" + folder);
        assertThat(outcome.all()).contains(folder.resolve("libcudart.so.13") + ": ").containsAnyOf("file too short",
                "invalid ELF header");
    }

    /** The emulator's file stands in for libcudart and, in the second JVM, for libnccl. */
    @Test
    void eachPartWorksWhereTheOthersLibrariesAreAbsent() throws Exception {
        String emulator = System.getProperty("nccl4j.emulator.library");
        String allowed = "--enable-native-access=ALL-UNNAMED";
        ProgramRun cudaAlone = run(PartsProbe.class, List.of(allowed, "-Dnccl4j.library.path=" + folder,
                "-Dnccl4j.cudart.library=" + emulator, "-Dnccl4j.nccl.library=" + folder.resolve("none")));
        assertThat(cudaAlone.lines()).contains("cuda: replayed 7", "kernels: []", "available: false");
        assertThat(cudaAlone.all()).contains("\nnccl: cannot load libnccl.so.2", "\nep: cannot load libnccl.so.2");
        ProgramRun withNccl = run(PartsProbe.class,
                List.of(allowed, "-Dnccl4j.library.path=" + folder, "-Dnccl4j.cudart.library=" + emulator,
                        "-Dnccl4j.nccl.library=" + emulator, "-Dnccl4j.nccl_ep.library=" + folder.resolve("none")));
        assertThat(withNccl.lines()).contains("cuda: replayed 7", "nccl: 128 bytes", "available: false");
        assertThat(withNccl.all()).contains("\nep: cannot load libnccl_ep.so.0");
    }

    @Test
    void theEmulatorRunsWhenAskedFor() throws Exception {
        ProgramRun outcome = probe("-Dnccl4j.backend=emulator",
                "-Dnccl4j.emulator.library=" + System.getProperty("nccl4j.emulator.library"));
        assertThat(outcome.lines()).contains("backend: EMULATOR", "devices: 64", "available: true");
        assertThat(outcome.all()).contains("describe: backend EMULATOR", "libnccl4j_emulator.so",
                "CUDA runtime 13.0, NCCL 2.30.7, NCCL EP 0.1.0");
    }

    @Test
    void theEmulatorIsFoundOnTheClassPath() throws Exception {
        ProgramRun outcome = probe("-Dnccl4j.backend=emulator");
        assertThat(outcome.lines()).contains("devices: 64");
    }

    /** As in a JVM that is killed: nothing is left to be deleted at its end. */
    @Test
    void u5TheEmulatorOfAJarLeavesNoFileOnceItIsLoaded() throws Exception {
        Path jar = folder.resolve("emulator.jar");
        Path tests = Path.of("target", "test-classes");
        try (ZipOutputStream out = new ZipOutputStream(Files.newOutputStream(jar))) {
            out.setLevel(Deflater.NO_COMPRESSION);
            for (String entry : List.of("io/nccl4j/libraries/LibraryProbe.class",
                    Path.of(System.getProperty("nccl4j.emulator.library")).getParent().getFileName()
                            + "/libnccl4j_emulator.so")) {
                out.putNextEntry(new ZipEntry(entry));
                Files.copy(tests.resolve(entry), out);
                out.closeEntry();
            }
        }
        Path temporary = Files.createDirectory(folder.resolve("tmp"));
        ProgramRun outcome = run(LibraryProbe.class,
                List.of("--enable-native-access=ALL-UNNAMED", "-Dnccl4j.backend=emulator",
                        "-Djava.io.tmpdir=" + temporary),
                Stream.of(locationOf(NativeLibraries.class), jar, locationOf(Logger.class)).map(Path::toString)
                        .collect(Collectors.joining(File.pathSeparator)));
        assertThat(outcome.lines()).contains("devices: 64", "temporary files: []");
        assertThat(outcome.all()).contains(temporary + "/nccl4j-");
        assertThat(temporary).isEmptyDirectory();
    }

    /** As NVIDIA's wheels lie in site-packages; the emulator's file stands in for all three. */
    @Test
    void u7ThePackagesOfPythonAreFound() throws Exception {
        Path emulator = Path.of(System.getProperty("nccl4j.emulator.library"));
        List<String> files = List.of("nvidia/cu13/lib/libcudart.so.13", "nvidia/nccl/lib/libnccl.so.2",
                "nccl/ep/lib/libnccl_ep.so.0");
        for (String file : files) {
            Path link = folder.resolve(file);
            Files.createDirectories(link.getParent());
            Files.createSymbolicLink(link, emulator);
        }
        ProgramRun outcome = probe("-Dnccl4j.library.path=" + folder);
        assertThat(outcome.lines()).contains("backend: NATIVE", "devices: 64", "available: true");
        assertThat(outcome.all()).contains(files.stream().map(folder::resolve).map(Path::toString).toList());
    }

    @Test
    void theNativeAccessFlagIsNamedWhenItIsMissing() throws Exception {
        ProgramRun outcome = run(LibraryProbe.class,
                List.of("--illegal-native-access=deny", "-Dnccl4j.backend=emulator"));
        assertThat(outcome.all())
                .contains("native access is not allowed: start the JVM with " + "--enable-native-access=ALL-UNNAMED");
    }

    @Test
    void anUnknownBackendIsRefusedByName() throws Exception {
        assertThat(probe("-Dnccl4j.backend=cpu").all()).contains("unknown backend 'cpu'", "'native' or 'emulator'");
    }

    private static ProgramRun probe(String... options) throws IOException, InterruptedException {
        List<String> all = new ArrayList<>(List.of("--enable-native-access=ALL-UNNAMED"));
        all.addAll(List.of(options));
        return run(LibraryProbe.class, all);
    }

    private static ProgramRun run(Class<?> program, List<String> options) throws IOException, InterruptedException {
        return run(program, options, classPath());
    }

    private static ProgramRun run(Class<?> program, List<String> options, String path)
            throws IOException, InterruptedException {
        return ProgramRun.java(program, path, options, Map.of());
    }

    private static String classPath() {
        return Stream.of(locationOf(NativeLibraries.class), Path.of("target", "test-classes").toAbsolutePath(),
                locationOf(Logger.class)).map(Path::toString).collect(Collectors.joining(File.pathSeparator));
    }

    private static Path locationOf(Class<?> type) {
        return Path.of(java.net.URI.create(type.getProtectionDomain().getCodeSource().getLocation().toString()));
    }
}
