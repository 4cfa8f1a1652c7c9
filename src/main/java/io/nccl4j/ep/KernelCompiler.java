package io.nccl4j.ep;

import io.nccl4j.ep.Preflight.Fact;
import io.nccl4j.internal.LibraryName;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Where the real NCCL EP looks for the compiler of its kernels, which it runs at first use. The library asks the same
 * variables in the same order; a folder that no variable names is one that was compiled into it, which is not known
 * here.
 */
final class KernelCompiler {
    private static final String COMPILED_IN = "a folder compiled into NCCL EP";
    private static final Pattern VERSION = Pattern.compile("(?m)^#define\\s+NCCL_(MAJOR|MINOR|PATCH)\\s+(\\d+)");
    /** From this version on NCCL EP runs with any NCCL that is newer than the one it was built with. */
    private static final int FORWARD_COMPATIBLE = 23_100;
    /** From this version on it does so if it is told to. */
    private static final int FORWARD_IF_TOLD = 23_005;
    private static final int MAJOR = 10_000;
    private static final int MINOR = 100;

    private final Map<String, String> environment;

    KernelCompiler(Map<String, String> environment) {
        this.environment = environment;
    }

    /**
     * The facts; one that has a remedy would make the first operation fail.
     *
     * @param epLibrary the file of NCCL EP
     * @param ncclVersion of the NCCL that is loaded, as its C function answers
     */
    List<Fact> facts(@Nullable Path epLibrary, int ncclVersion) {
        return List.of(nvcc(), sources(epLibrary), ncclHeaders(ncclVersion), cudaHeaders(), cache());
    }

    private @Nullable String first(String... variables) {
        for (String variable : variables) {
            String value = environment.get(variable);
            if (value != null && !value.isEmpty()) {
                return value;
            }
        }
        return null;
    }

    private Fact nvcc() {
        String named = first("NCCL_EP_JIT_NVCC", "NVCC");
        String toolkit = first("CUDA_HOME", "CUDA_PATH");
        if (named == null && toolkit != null && Files.exists(Path.of(toolkit, "bin", "nvcc"))) {
            named = Path.of(toolkit, "bin", "nvcc").toString();
        }
        String program = named == null ? "nvcc" : named;
        Path found = program.indexOf('/') >= 0 ? executable(Path.of(program)) : onPath(program);
        return found != null
                ? new Fact("nvcc", found.toString(), null)
                : new Fact("nvcc", program + " is not found",
                        "NCCL EP compiles its kernels with nvcc: install the CUDA toolkit, and set CUDA_HOME or PATH, "
                                + "or name the compiler by NCCL_EP_JIT_NVCC");
    }

    private @Nullable Path onPath(String program) {
        for (String folder : environment.getOrDefault("PATH", "").split(File.pathSeparator)) {
            Path file = executable(Path.of(folder, program));
            if (file != null) {
                return file;
            }
        }
        return null;
    }

    private static @Nullable Path executable(Path file) {
        return Files.isRegularFile(file) && Files.isExecutable(file) ? file : null;
    }

    private Fact sources(@Nullable Path epLibrary) {
        String named = first("NCCL_EP_JIT_SOURCE_DIR");
        String home = first("NCCL_EP_HOME");
        Path folder = named != null ? Path.of(named) : home == null ? null : Path.of(home, "include", "nccl_ep");
        Path package_ = folder != null || epLibrary == null ? null : pythonPackage(epLibrary);
        if (package_ != null) {
            return new Fact("kernel sources", COMPILED_IN,
                    "this NCCL EP is that of NVIDIA's Python package, which sets NCCL_EP_HOME=" + package_
                            + ", and NCCL_HOME to the folder nvidia/nccl beside it: set both before the JVM starts");
        }
        return folder("kernel sources", folder, has -> Files.isDirectory(has.resolve("device")),
                "a folder with NCCL EP's device/*.cuh: set NCCL_EP_HOME to the folder whose include/nccl_ep has them");
    }

    /** The folder {@code nccl/ep} of a library in its {@code lib}, which has no use for folders compiled into it. */
    private static @Nullable Path pythonPackage(Path epLibrary) {
        Path lib = epLibrary.toAbsolutePath().getParent();
        Path home = lib != null && lib.endsWith(Path.of("nccl", "ep", "lib")) ? lib.getParent() : null;
        return home != null && Files.isDirectory(home.resolve("include/nccl_ep")) ? home : null;
    }

    private Fact ncclHeaders(int ncclVersion) {
        String named = first("NCCL_EP_JIT_BUILD_INCLUDE_DIR");
        String home = first("NCCL_HOME");
        Path folder = named != null ? Path.of(named) : home == null ? null : Path.of(home, "include");
        Fact fact = folder("NCCL headers", folder,
                has -> Files.exists(has.resolve("nccl.h")) && Files.isDirectory(has.resolve("nccl_device")),
                "a folder with nccl.h and nccl_device/: set NCCL_HOME to the folder whose include has them");
        if (folder == null || fact.remedy() != null) {
            return fact;
        }
        int version = version(folder.resolve("nccl.h"));
        return new Fact(fact.name(), fact.value() + " (" + LibraryName.NCCL.words(version) + ")",
                mismatch(version, ncclVersion));
    }

    /** Why kernels compiled for one NCCL don't suit another; null if they do. */
    @Nullable
    String mismatch(int built, int running) {
        String versions = "NCCL EP's kernels are compiled for NCCL " + LibraryName.NCCL.words(built) + ", and NCCL "
                + LibraryName.NCCL.words(running) + " is loaded: ";
        if (running == 0 || built == 0 || built == running) {
            return null;
        }
        if (running < built) {
            return versions + "load NCCL " + LibraryName.NCCL.words(built) + " or newer";
        }
        if (built >= FORWARD_COMPATIBLE || built >= FORWARD_IF_TOLD && "1".equals(first("NCCL_DEV_API_JIT"))) {
            return null;
        }
        return versions + "load NCCL " + LibraryName.NCCL.words(built)
                + (built >= FORWARD_IF_TOLD ? ", or set NCCL_DEV_API_JIT=1" : "");
    }

    private static int version(Path header) {
        try {
            int version = 0;
            Matcher matcher = VERSION.matcher(Files.readString(header));
            while (matcher.find()) {
                int part = Integer.parseInt(matcher.group(2));
                version += part
                        * (matcher.group(1).equals("MAJOR") ? MAJOR : matcher.group(1).equals("MINOR") ? MINOR : 1);
            }
            return version;
        } catch (IOException e) {
            return 0;
        }
    }

    /** No remedy: a wrong folder does no harm, since nvcc knows those of its own toolkit. */
    private Fact cudaHeaders() {
        String named = first("NCCL_EP_JIT_CUDA_INCLUDE_DIR");
        String toolkit = first("CUDA_HOME", "CUDA_PATH");
        return new Fact("CUDA headers",
                named != null ? named : toolkit == null ? COMPILED_IN : Path.of(toolkit, "include").toString(), null);
    }

    private static Fact folder(String name, @Nullable Path folder, Predicate<Path> holds, String need) {
        if (folder == null) {
            return new Fact(name, COMPILED_IN, null);
        }
        return new Fact(name, folder.toString(), holds.test(folder) ? null : folder + " is not " + need);
    }

    private Fact cache() {
        String named = first("NCCL_EP_JIT_CACHE_DIR");
        Path folder = (named == null ? Path.of("/tmp", "nccl_ep", "jit") : Path.of(named)).toAbsolutePath();
        Path made = folder;
        while (made != null && !Files.exists(made)) {
            made = made.getParent();
        }
        boolean writable = made != null && Files.isDirectory(made) && Files.isWritable(made);
        return new Fact("kernel cache", folder.toString(),
                writable
                        ? null
                        : "NCCL EP cannot keep compiled kernels in " + folder + ", as " + made
                                + " is not a folder that this process can write to: set NCCL_EP_JIT_CACHE_DIR to one");
    }
}
