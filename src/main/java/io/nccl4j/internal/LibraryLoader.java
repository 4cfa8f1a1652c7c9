package io.nccl4j.internal;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraryException;
import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.bindings.ncclep.NcclEp;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Loads the three libraries, or the emulator in their place, before the first generated class links a function. Loading is by
 * absolute path with {@link System#load}: it reports the linker's own reason, and the generated classes find the symbols
 * through this class loader.
 */
public final class LibraryLoader {
    /** CUDA 13: under an older libcudart some plain function names have an older ABI. */
    private static final int MIN_CUDA = 13_000;
    /** NCCL 2.30: what NCCL EP needs. */
    private static final int MIN_NCCL = 23_000;

    private static final Logger LOG = LoggerFactory.getLogger("io.nccl4j.libraries");
    private static @Nullable Backend chosen;
    private static volatile @Nullable String description;

    private LibraryLoader() {
    }

    /** The backend in use or, before loading, the one that would be. */
    public static synchronized Backend backend() {
        return chosen != null ? chosen : configured();
    }

    /** Chooses the backend for this JVM. */
    public static synchronized void use(Backend backend) {
        if (description != null && chosen != backend) {
            throw new IllegalStateException((chosen == Backend.NATIVE ? "the real libraries are" : "the emulator is")
                    + " loaded already: choose the backend before the first use of nccl4j, or start the JVM with "
                    + "-Dnccl4j.backend=" + backend.name().toLowerCase(Locale.ROOT));
        }
        chosen = backend;
    }

    /** Loads the libraries if need be. */
    public static void ensureLoaded() {
        if (description == null) {
            load();
        }
    }

    /** Files and versions; null before loading. */
    public static @Nullable String describe() {
        return description;
    }

    private static synchronized void load() {
        if (description != null) {
            return;
        }
        Backend backend = backend();
        List<String> attempts = new ArrayList<>();
        List<String> files = new ArrayList<>();
        try {
            if (backend == Backend.EMULATOR) {
                files.add(loadEmulator(attempts));
            } else {
                LibrarySearch search = new LibrarySearch(attempts);
                for (LibraryName name : LibraryName.values()) {
                    files.add(search.load(name));
                }
            }
        } catch (IllegalCallerException e) {
            throw new NativeLibraryException("native access is not allowed: start the JVM with " + accessFlag(),
                    List.of());
        }
        String versions = checkVersions(files);
        chosen = backend;
        description = "backend " + backend + "\n" + String.join("\n", files) + "\n" + versions;
        LOG.info("loaded {} ({})", files, versions);
    }

    private static String loadEmulator(List<String> attempts) {
        Path library = EmulatorLibrary.find(attempts);
        try {
            System.load(library.toString());
        } catch (UnsatisfiedLinkError e) {
            attempts.add(library + ": " + e.getMessage());
            throw new NativeLibraryException("the emulator does not load", attempts);
        }
        return library.toString();
    }

    private static Backend configured() {
        String name = System.getProperty("nccl4j.backend", System.getenv("NCCL4J_BACKEND"));
        if (name == null || name.isBlank() || name.equalsIgnoreCase("native")) {
            return Backend.NATIVE;
        }
        if (name.equalsIgnoreCase("emulator")) {
            return Backend.EMULATOR;
        }
        throw new NativeLibraryException("unknown backend '" + name + "': nccl4j.backend is 'native' or 'emulator'",
                List.of());
    }

    private static String checkVersions(List<String> files) {
        SymbolLookup symbols = SymbolLookup.loaderLookup();
        for (String symbol : List.of("cudaGraphLaunch", "ncclCommWindowRegister", "ncclEpUpdateHandle")) {
            if (symbols.find(symbol).isEmpty()) {
                throw new NativeLibraryException(
                        "none of the loaded libraries has " + symbol + "; too old or not what it seems to be", files);
            }
        }
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment version = arena.allocate(ValueLayout.JAVA_INT);
            // Asks for the runtime first: it needs no driver and no device.
            CudaRuntime.cudaRuntimeGetVersion(version);
            int cuda = version.get(ValueLayout.JAVA_INT, 0);
            Nccl.ncclGetVersion(version);
            int nccl = version.get(ValueLayout.JAVA_INT, 0);
            NcclEp.ncclEpGetVersion(version);
            int ep = version.get(ValueLayout.JAVA_INT, 0);
            if (cuda < MIN_CUDA || nccl < MIN_NCCL) {
                throw new NativeLibraryException("CUDA runtime " + cuda + " and NCCL " + nccl + " were found, at least "
                        + MIN_CUDA + " and " + MIN_NCCL + " are needed", files);
            }
            return "CUDA runtime " + cuda + ", NCCL " + nccl + ", NCCL EP " + ep;
        }
    }

    private static String accessFlag() {
        Module module = LibraryLoader.class.getModule();
        return "--enable-native-access=" + (module.isNamed() ? module.getName() : "ALL-UNNAMED");
    }
}
