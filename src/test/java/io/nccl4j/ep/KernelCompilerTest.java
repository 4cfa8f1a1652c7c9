package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.ep.Preflight.Fact;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A system in a folder: a toolkit, NCCL and NCCL EP, of which a test breaks one thing. */
class KernelCompilerTest {
    @TempDir
    Path folder;

    private final Map<String, String> environment = new HashMap<>();

    @BeforeEach
    void completeSystem() throws IOException {
        executable(folder.resolve("cuda/bin/nvcc"));
        file(folder.resolve("nccl/include/nccl_device/core.h"), "");
        header(2, 30, 7);
        file(folder.resolve("ep/include/nccl_ep/device/a.cuh"), "");
        Files.createDirectories(folder.resolve("cache"));
        environment.putAll(Map.of("CUDA_HOME", folder.resolve("cuda").toString(), "NCCL_HOME",
                folder.resolve("nccl").toString(), "NCCL_EP_HOME", folder.resolve("ep").toString(),
                "NCCL_EP_JIT_CACHE_DIR", folder.resolve("cache/deep/down").toString(), "PATH", "/nowhere"));
    }

    private void header(int major, int minor, int patch) throws IOException {
        file(folder.resolve("nccl/include/nccl.h"), "#define NCCL_MAJOR " + major + "\n#define NCCL_MINOR " + minor
                + "\n#define NCCL_PATCH " + patch + "\n#define NCCL_SUFFIX \"\"\n");
    }

    private static void file(Path file, String text) throws IOException {
        Files.createDirectories(file.getParent());
        Files.writeString(file, text);
    }

    private static void executable(Path file) throws IOException {
        file(file, "#!/bin/sh\n");
        assertThat(file.toFile().setExecutable(true)).isTrue();
    }

    private Map<String, String> remedies(Path library, int nccl) {
        return new KernelCompiler(environment).facts(library, nccl).stream().filter(fact -> fact.remedy() != null)
                .collect(Collectors.toMap(Fact::name, Fact::remedy));
    }

    private Map<String, String> remedies() {
        return remedies(folder.resolve("ep/lib/libnccl_ep.so.0"), 23_007);
    }

    @Test
    void aCompleteSystemNeedsNothing() {
        assertThat(remedies()).isEmpty();
        List<Fact> facts = new KernelCompiler(environment).facts(null, 23_007);
        assertThat(facts).extracting(Fact::name).containsExactly("nvcc", "kernel sources", "NCCL headers",
                "CUDA headers", "kernel cache");
        assertThat(facts).extracting(Fact::value).contains(folder.resolve("cuda/bin/nvcc").toString(),
                folder.resolve("nccl/include") + " (2.30.7)");
    }

    @Test
    void nvccIsFoundAsTheLibraryFindsIt() throws IOException {
        Files.delete(folder.resolve("cuda/bin/nvcc"));
        assertThat(remedies()).containsOnlyKeys("nvcc");
        assertThat(remedies().get("nvcc")).contains("CUDA_HOME", "NCCL_EP_JIT_NVCC");
        executable(folder.resolve("bin/nvcc"));
        environment.put("PATH", "/nowhere:" + folder.resolve("bin"));
        assertThat(remedies()).isEmpty();
        environment.put("NVCC", folder.resolve("none/nvcc").toString());
        assertThat(remedies()).containsOnlyKeys("nvcc");
        environment.put("NCCL_EP_JIT_NVCC", folder.resolve("bin/nvcc").toString());
        assertThat(remedies()).isEmpty();
    }

    @Test
    void foldersWithoutTheirHeadersAreNamed() {
        environment.put("NCCL_EP_HOME", folder.resolve("nccl").toString());
        environment.put("NCCL_HOME", folder.resolve("ep").toString());
        assertThat(remedies()).containsOnlyKeys("kernel sources", "NCCL headers");
        assertThat(remedies().get("kernel sources")).contains(folder.resolve("nccl/include/nccl_ep").toString(),
                "NCCL_EP_HOME");
    }

    @Test
    void aPythonPackageNeedsTheVariableThatItSetsItself() {
        environment.remove("NCCL_EP_HOME");
        assertThat(remedies()).isEmpty();
        Path library = folder.resolve("site-packages/nccl/ep/lib/libnccl_ep.so.0");
        assertThat(library.getParent().resolveSibling("include/nccl_ep").toFile().mkdirs()).isTrue();
        assertThat(remedies(library, 23_007)).containsOnlyKeys("kernel sources");
        assertThat(remedies(library, 23_007).get("kernel sources"))
                .contains("NCCL_EP_HOME=" + folder.resolve("site-packages/nccl/ep"));
    }

    /** A file in the way: what nobody, not even root, can write to. */
    @Test
    void aCacheThatCannotBeWrittenIsNamed() throws IOException {
        file(folder.resolve("cache/deep"), "a file");
        assertThat(remedies()).containsOnlyKeys("kernel cache");
        assertThat(remedies().get("kernel cache")).contains(folder.resolve("cache/deep") + " is not a folder",
                "NCCL_EP_JIT_CACHE_DIR");
    }

    @Test
    void versionsOfNcclThatDoNotGoTogetherAreToldInWords() throws IOException {
        assertThat(remedies(null, 23_005).get("NCCL headers")).contains("compiled for NCCL 2.30.7",
                "NCCL 2.30.5 is loaded", "2.30.7 or newer");
        assertThat(remedies(null, 23_102).get("NCCL headers")).contains("NCCL 2.31.2 is loaded", "NCCL_DEV_API_JIT=1");
        environment.put("NCCL_DEV_API_JIT", "1");
        assertThat(remedies(null, 23_102)).isEmpty();
        header(2, 30, 4);
        assertThat(remedies(null, 23_007).get("NCCL headers")).endsWith("load NCCL 2.30.4");
        header(2, 31, 2);
        assertThat(remedies(null, 23_203)).isEmpty();
    }
}
