package io.nccl4j.libraries;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.NativeLibraries;
import io.nccl4j.ep.Preflight;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The report that {@code java -jar} prints, in a JVM that has the library's classes and nothing else. */
class PreflightTest {
    private static final String EMULATOR = System.getProperty("nccl4j.emulator.library");

    @TempDir
    Path folder;

    private record Outcome(int exit, String output) {
    }

    private Outcome report(Map<String, String> environment, String... options)
            throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(
                List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString()));
        command.addAll(List.of(options));
        command.addAll(List.of("-cp", Path
                .of(URI.create(NativeLibraries.class.getProtectionDomain().getCodeSource().getLocation().toString()))
                .toString(), Preflight.class.getName()));
        Path output = folder.resolve("output.txt");
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(output.toFile());
        builder.environment().keySet().removeIf(name -> name.matches("NCCL.*|CUDA_.*|NVCC.*|LD_LIBRARY_PATH"));
        builder.environment().putAll(environment);
        Process process = builder.start();
        boolean ended = process.waitFor(60, TimeUnit.SECONDS);
        process.destroyForcibly();
        assertThat(ended).isTrue();
        return new Outcome(process.exitValue(), Files.readString(output, StandardCharsets.UTF_8));
    }

    @Test
    void onTheEmulatorNothingIsMissing() throws Exception {
        Outcome outcome = report(Map.of("NCCL4J_BACKEND", "emulator", "NCCL4J_BOOTSTRAP_SECRET", "hush"),
                "--enable-native-access=ALL-UNNAMED", "-Dnccl4j.emulator.library=" + EMULATOR);
        assertThat(outcome.exit).as(outcome.output).isZero();
        assertThat(outcome.output)
                .contains("native access     allowed", "backend           EMULATOR",
                        "NCCL EP           0.1.0, " + EMULATOR, "-Dnccl4j.emulator.library=" + EMULATOR,
                        "NCCL4J_BACKEND=emulator", "NCCL4J_BOOTSTRAP_SECRET=...", "nothing is missing")
                .doesNotContain("hush");
    }

    @Test
    void whatIsMissingIsToldWithItsRemedy() throws Exception {
        Outcome outcome = report(Map.of("PATH", "/nowhere", "NCCL_EP_JIT_CACHE_DIR", "/dev/null/cache"),
                "-Dnccl4j.cudart.library=" + folder.resolve("none"));
        assertThat(outcome.exit).as(outcome.output).isEqualTo(1);
        assertThat(outcome.output).contains("native access: start the JVM with --enable-native-access=ALL-UNNAMED",
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
        Outcome outcome = report(Map.of("NCCL4J_LIBRARY_PATH", packages.resolve("nvidia/cu13/lib").toString()),
                "--enable-native-access=ALL-UNNAMED");
        assertThat(outcome.output).contains("CUDA runtime      13.0, " + packages.resolve("nvidia/cu13/lib"),
                "NCCL              2.30.7, " + packages.resolve("nvidia/nccl/lib/libnccl.so.2"),
                "NCCL EP           0.1.0, " + packages.resolve("nccl/ep/lib/libnccl_ep.so.0"),
                "devices           64 visible", "generation        API_V2");
    }

    @Test
    void theActivePythonEnvironmentIsLookedInto() throws Exception {
        Path packages = sitePackages();
        Files.createDirectories(packages.resolve("nccl/ep/include/nccl_ep"));
        Outcome outcome = report(Map.of("VIRTUAL_ENV", folder.resolve("venv").toString()),
                "--enable-native-access=ALL-UNNAMED");
        assertThat(outcome.output).contains("NCCL EP           0.1.0, " + packages.resolve("nccl/ep/lib"),
                "kernel sources: this NCCL EP is that of NVIDIA's Python package, which sets NCCL_EP_HOME="
                        + packages.resolve("nccl/ep"));
    }
}
