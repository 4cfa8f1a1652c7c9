package io.nccl4j.libraries;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.NativeLibraries;
import io.nccl4j.ep.Preflight;
import io.nccl4j.processes.ProgramRun;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The report that {@code java -jar} prints, in a JVM that has the library's classes and nothing else. */
class PreflightTest {
    private static final String EMULATOR = System.getProperty("nccl4j.emulator.library");

    @TempDir
    Path folder;

    private static ProgramRun report(Map<String, String> environment, String... options)
            throws IOException, InterruptedException {
        String classes = Path
                .of(URI.create(NativeLibraries.class.getProtectionDomain().getCodeSource().getLocation().toString()))
                .toString();
        return ProgramRun.java(Preflight.class, classes, List.of(options), environment);
    }

    @Test
    void onTheEmulatorNothingIsMissing() throws Exception {
        ProgramRun outcome = report(Map.of("NCCL4J_BACKEND", "emulator", "NCCL4J_BOOTSTRAP_SECRET", "hush"),
                "--enable-native-access=ALL-UNNAMED", "-Dnccl4j.emulator.library=" + EMULATOR);
        assertThat(outcome.exitCode()).as(outcome.all()).isZero();
        assertThat(outcome.all())
                .contains("native access     allowed", "backend           EMULATOR",
                        "NCCL EP           0.1.0, " + EMULATOR, "-Dnccl4j.emulator.library=" + EMULATOR,
                        "NCCL4J_BACKEND=emulator", "NCCL4J_BOOTSTRAP_SECRET=...", "nothing is missing")
                .doesNotContain("hush");
    }

    @Test
    void whatIsMissingIsToldWithItsRemedy() throws Exception {
        ProgramRun outcome = report(Map.of("PATH", "/nowhere", "NCCL_EP_JIT_CACHE_DIR", "/dev/null/cache"),
                "-Dnccl4j.cudart.library=" + folder.resolve("none"));
        assertThat(outcome.exitCode()).as(outcome.all()).isEqualTo(1);
        assertThat(outcome.all()).contains("native access: start the JVM with --enable-native-access=ALL-UNNAMED",
                "CUDA runtime, NCCL, NCCL EP: cannot load libcudart.so.13. Install the CUDA toolkit 13",
                "nvcc: NCCL EP compiles its kernels with nvcc: install the CUDA toolkit",
                "kernel cache: NCCL EP cannot keep compiled kernels in /dev/null/cache",
                "NCCL_EP_JIT_CACHE_DIR=/dev/null/cache");
    }

    /** The folders of NVIDIA's Python packages; the emulator stands in for all three. */
    private Path sitePackages() throws IOException {
        Path packages = folder.resolve("venv/lib/python3.12/site-packages");
        for (String file : List.of("nvidia/cu13/lib/libcudart.so.13", "nvidia/nccl/lib/libnccl.so.2",
                "nccl/ep/lib/libnccl_ep.so.0")) {
            Files.createDirectories(packages.resolve(file).getParent());
            Files.createSymbolicLink(packages.resolve(file), Path.of(EMULATOR));
        }
        return packages;
    }

    @Test
    void librariesOfPythonPackagesAreFoundFromOneOfThem() throws Exception {
        Path packages = sitePackages();
        ProgramRun outcome = report(Map.of("NCCL4J_LIBRARY_PATH", packages.resolve("nvidia/cu13/lib").toString()),
                "--enable-native-access=ALL-UNNAMED");
        assertThat(outcome.all()).contains("CUDA runtime      13.0, " + packages.resolve("nvidia/cu13/lib"),
                "NCCL              2.30.7, " + packages.resolve("nvidia/nccl/lib/libnccl.so.2"),
                "NCCL EP           0.1.0, " + packages.resolve("nccl/ep/lib/libnccl_ep.so.0"),
                "devices           64 visible", "generation        API_V2");
    }

    @Test
    void theActivePythonEnvironmentIsLookedInto() throws Exception {
        Path packages = sitePackages();
        Files.createDirectories(packages.resolve("nccl/ep/include/nccl_ep"));
        ProgramRun outcome = report(Map.of("VIRTUAL_ENV", folder.resolve("venv").toString()),
                "--enable-native-access=ALL-UNNAMED");
        assertThat(outcome.all()).contains("NCCL EP           0.1.0, " + packages.resolve("nccl/ep/lib"),
                "kernel sources: this NCCL EP is that of NVIDIA's Python package, which sets NCCL_EP_HOME="
                        + packages.resolve("nccl/ep"));
    }
}
