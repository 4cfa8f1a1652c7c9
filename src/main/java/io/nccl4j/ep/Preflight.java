package io.nccl4j.ep;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraryException;
import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.LibraryLoader;
import io.nccl4j.internal.LibraryName;
import io.nccl4j.internal.Out;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The parts of the system that nccl4j runs on, each with where it was found or how to get it. {@code java -jar} of the
 * library's jar prints it, and ends with 1 if something is missing. {@link EpGroup#create} asks the same before its
 * collective call, and refuses; the system property {@code nccl4j.preflight=false} keeps it from asking.
 */
public final class Preflight {
    private static final String PROPERTY = "nccl4j.preflight";
    private static final Path DRIVER = Path.of("/proc/driver/nvidia");
    private static final int SHORTEST_LINE = 18;

    private Preflight() {
    }

    /**
     * One part of the system.
     *
     * @param name of the part, such as {@code NCCL}
     * @param value its version and place, or that it is missing
     * @param remedy how to get it or set it right; null if nothing is wrong
     */
    public record Fact(String name, String value, @Nullable String remedy) {
    }

    /**
     * The parts of the system, as this process sees them. Loads the libraries that are there. From any thread; never
     * throws for a part that is missing.
     *
     * @return the facts, those that the others need first
     */
    public static List<Fact> facts() {
        List<Fact> facts = new ArrayList<>();
        facts.add(new Fact("nccl4j", Stream.ofNullable(Preflight.class.getPackage().getImplementationVersion())
                .findAny().orElse("not from its jar"), null));
        facts.add(new Fact("Java",
                Runtime.version() + ", " + System.getProperty("os.name") + " " + System.getProperty("os.arch"), null));
        Module module = Preflight.class.getModule();
        facts.add(new Fact("native access", module.isNativeAccessEnabled() ? "allowed" : "not allowed",
                module.isNativeAccessEnabled() ? null : "start the JVM with " + LibraryLoader.accessFlag()));
        facts.add(variables());
        if (isEmulated(facts)) {
            facts.add(library("NCCL EP", LibraryName.NCCL_EP, LibraryLoader::loadNcclEp));
            return List.copyOf(facts);
        }
        facts.addAll(driver());
        facts.add(library("CUDA runtime", LibraryName.CUDART, LibraryLoader::loadCuda));
        facts.add(library("NCCL", LibraryName.NCCL, LibraryLoader::loadNccl));
        facts.add(library("NCCL EP", LibraryName.NCCL_EP, LibraryLoader::loadNcclEp));
        if (missing(facts.subList(facts.size() - 3, facts.size())).isEmpty()) {
            facts.add(devices());
            facts.add(fact("generation", () -> EpGeneration.ofLibrary().toString()));
        }
        facts.addAll(compiler());
        return List.copyOf(facts);
    }

    private static List<Fact> compiler() {
        return new KernelCompiler(System.getenv()).facts(LibraryLoader.file(LibraryName.NCCL_EP),
                LibraryLoader.version(LibraryName.NCCL));
    }

    private static boolean isEmulated(List<Fact> facts) {
        try {
            Backend backend = LibraryLoader.backend();
            facts.add(new Fact("backend", backend.name(), null));
            return backend == Backend.EMULATOR;
        } catch (NativeLibraryException e) {
            facts.add(new Fact("backend", "unknown", e.getMessage()));
            return false;
        }
    }

    /** Of a secret only that there is one. */
    private static Fact variables() {
        Map<String, String> set = new TreeMap<>();
        System.getenv().forEach(set::put);
        System.getProperties().stringPropertyNames().stream().filter(name -> name.startsWith("nccl4j."))
                .forEach(name -> set.put("-D" + name, System.getProperty(name)));
        set.keySet().removeIf(name -> !name
                .matches("-D.*|NCCL.*|CUDA_.*|NVCC.*|NVIDIA_VISIBLE_DEVICES|LD_LIBRARY_PATH|VIRTUAL_ENV|CONDA_PREFIX"));
        return new Fact("settings",
                set.isEmpty()
                        ? "none"
                        : set.entrySet().stream()
                                .map(entry -> entry.getKey() + "="
                                        + (entry.getKey().matches("(?i).*secret") ? "..." : entry.getValue()))
                                .collect(Collectors.joining(" ")),
                null);
    }

    private static List<Fact> driver() {
        List<Fact> facts = new ArrayList<>();
        try {
            String version = Files.readString(DRIVER.resolve("version")).lines().findFirst().orElse("");
            facts.add(new Fact("driver", version.replaceFirst("^NVRM version: *", ""), null));
            try (Stream<Path> gpus = Files.list(DRIVER.resolve("gpus"))) {
                for (Path gpu : gpus.sorted().toList()) {
                    String model = Files.readString(gpu.resolve("information")).lines()
                            .filter(line -> line.startsWith("Model:")).findFirst().orElse("unknown");
                    facts.add(
                            new Fact("GPU", model.replaceFirst("^Model:\\s*", "") + " at " + gpu.getFileName(), null));
                }
            }
        } catch (IOException e) {
            if (facts.isEmpty()) {
                facts.add(new Fact("driver", "not found", "install NVIDIA's driver (in a container: give it the GPUs, "
                        + "as --gpus all does), or run on the emulator: NCCL4J_BACKEND=emulator"));
            }
        }
        return facts;
    }

    private static Fact library(String name, LibraryName library, Runnable load) {
        return fact(name, () -> {
            load.run();
            return LibraryLoader.describe(library);
        });
    }

    private static Fact fact(String name, Supplier<String> value) {
        try {
            return new Fact(name, value.get(), null);
        } catch (NativeLibraryException e) {
            return new Fact(name, "not usable", e.getMessage());
        }
    }

    private static Fact devices() {
        int driver = Out.ofInt(CudaRuntime::cudaDriverGetVersion);
        int[] status = new int[1];
        int count = Out.ofInt(out -> status[0] = CudaRuntime.cudaGetDeviceCount(out));
        return status[0] == 0
                ? new Fact("devices", count + " visible, driver for CUDA " + LibraryName.CUDART.words(driver), null)
                : new Fact("devices", "none",
                        "cudaGetDeviceCount answers " + status[0] + ", "
                                + CudaRuntime.cudaGetErrorString(status[0]).getString(0)
                                + ": see the driver, and CUDA_VISIBLE_DEVICES");
    }

    private static List<String> missing(List<Fact> facts) {
        Map<String, String> remedies = new LinkedHashMap<>();
        for (Fact fact : facts) {
            if (fact.remedy() != null) {
                remedies.merge(fact.remedy(), fact.name(), (one, other) -> one + ", " + other);
            }
        }
        return remedies.entrySet().stream().map(entry -> entry.getValue() + ": " + entry.getKey()).toList();
    }

    /**
     * Refuses what would make a group, or its first operation, fail in the library, some of it by ending the process.
     *
     * @throws NativeLibraryException with every remedy
     */
    static void check() {
        if ("false".equals(System.getProperty(PROPERTY)) || LibraryLoader.backend() != Backend.NATIVE) {
            return;
        }
        List<String> wrong = missing(compiler());
        if (!wrong.isEmpty()) {
            throw new NativeLibraryException("NCCL EP cannot work as the system is set up (-D" + PROPERTY
                    + "=false does not ask): " + String.join("; ", wrong), List.of());
        }
    }

    /**
     * The facts for people: a line for each, and below them what to do.
     *
     * @param facts of {@link #facts()}
     * @return several lines
     */
    public static String text(List<Fact> facts) {
        List<String> wrong = missing(facts);
        return facts.stream().map(fact -> String.format("%-" + SHORTEST_LINE + "s%s", fact.name(), fact.value()))
                .collect(Collectors.joining("\n"))
                + (wrong.isEmpty() ? "\n\nnothing is missing" : "\n\nmissing:\n" + String.join("\n", wrong));
    }

    /** Prints the facts. Without a logging library, too. */
    static void main(String[] arguments) {
        List<Fact> facts = facts();
        System.out.println(text(facts));
        if (!missing(facts).isEmpty()) {
            System.exit(1);
        }
    }
}
