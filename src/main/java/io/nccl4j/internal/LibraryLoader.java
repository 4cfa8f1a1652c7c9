package io.nccl4j.internal;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraryException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.slf4j.LoggerFactory;

/**
 * Loads the libraries, or the emulator in their place, before the first generated class links a function of theirs: the
 * CUDA runtime for {@code cuda}, NCCL with {@code nccl}, NCCL EP with {@code ep}, so that each part works where the
 * others' libraries are absent. Loading is by absolute path with {@link System#load}: it reports the linker's own
 * reason, and the generated classes find the symbols through this class loader.
 */
public final class LibraryLoader {
    private static final List<Loaded> LOADED = new ArrayList<>();
    private static @Nullable Backend chosen;
    /** How many of {@link LibraryName} are loaded, in their order. */
    private static volatile int loaded;

    private LibraryLoader() {
    }

    private record Loaded(LibraryName name, String file, int version) {
        @Override
        public String toString() {
            return name.title() + " " + name.words(version);
        }
    }

    /** The backend in use or, before loading, the one that would be. */
    public static synchronized Backend backend() {
        return chosen != null ? chosen : configured();
    }

    /** Chooses the backend for this JVM. */
    public static synchronized void use(Backend backend) {
        if (loaded > 0 && chosen != backend) {
            throw new IllegalStateException((chosen == Backend.NATIVE ? "the real libraries are" : "the emulator is")
                    + " loaded already: choose the backend before the first use of nccl4j, or start the JVM with "
                    + "-Dnccl4j.backend=" + backend.name().toLowerCase(Locale.ROOT));
        }
        chosen = backend;
    }

    /** Loads the CUDA runtime if need be. */
    public static void loadCuda() {
        ensureLoaded(LibraryName.CUDART);
    }

    /** Loads NCCL, and what it needs, if need be. */
    public static void loadNccl() {
        ensureLoaded(LibraryName.NCCL);
    }

    /** Loads NCCL EP, and what it needs, if need be: everything. */
    public static void loadNcclEp() {
        ensureLoaded(LibraryName.NCCL_EP);
    }

    private static void ensureLoaded(LibraryName last) {
        if (loaded <= last.ordinal()) {
            load(last);
        }
    }

    /** Files and versions of what is loaded so far. */
    public static synchronized String describe() {
        return "backend " + backend() + "\n"
                + LOADED.stream().map(Loaded::file).distinct().collect(Collectors.joining("\n")) + "\n"
                + LOADED.stream().map(Loaded::toString).collect(Collectors.joining(", "));
    }

    /** Version and file of a library that is loaded. */
    public static String describe(LibraryName name) {
        return find(name).map(library -> name.words(library.version) + ", " + library.file).orElse("not loaded");
    }

    /** Its file; null if it is not loaded. */
    public static @Nullable Path file(LibraryName name) {
        return find(name).map(library -> Path.of(library.file)).orElse(null);
    }

    /** As its C function answers; 0 if it is not loaded. */
    public static int version(LibraryName name) {
        return find(name).map(Loaded::version).orElse(0);
    }

    private static synchronized Optional<Loaded> find(LibraryName name) {
        return LOADED.stream().filter(library -> library.name == name).findAny();
    }

    private static synchronized void load(LibraryName last) {
        if (loaded > last.ordinal()) {
            return;
        }
        Backend backend = backend();
        List<String> attempts = new ArrayList<>();
        int before = loaded;
        try {
            boolean emulated = backend == Backend.EMULATOR;
            String emulator = emulated ? loadEmulator(attempts) : "";
            LibrarySearch search = new LibrarySearch(attempts);
            LOADED.forEach(library -> search.lookBeside(library.name, library.file));
            List<LibraryName> names = List.of(LibraryName.values());
            for (LibraryName name : names.subList(before, emulated ? names.size() : last.ordinal() + 1)) {
                String file = emulated ? emulator : search.load(name);
                LOADED.add(new Loaded(name, file, name.version(file)));
                chosen = backend;
                loaded = name.ordinal() + 1;
            }
        } catch (IllegalCallerException e) {
            throw new NativeLibraryException("native access is not allowed: start the JVM with " + accessFlag(),
                    List.of());
        }
        log(LOADED.subList(before, LOADED.size()));
    }

    private static void log(List<Loaded> libraries) {
        try {
            LoggerFactory.getLogger("io.nccl4j.libraries").info("loaded {} ({})",
                    libraries.stream().map(Loaded::file).distinct().toList(), libraries);
        } catch (NoClassDefFoundError e) {
            // `java -jar` with nothing beside the jar.
        }
    }

    private static String loadEmulator(List<String> attempts) {
        Path library = EmulatorLibrary.find(attempts);
        try {
            ProcessLibraries.load(library, EmulatorLibrary.FILE);
        } catch (UnsatisfiedLinkError e) {
            attempts.add(EmulatorLibrary.explain(library, String.valueOf(e.getMessage())));
            throw new NativeLibraryException("the emulator does not load", attempts);
        } finally {
            EmulatorLibrary.discard();
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

    /** The option of the JVM that allows the calls of this module. */
    public static String accessFlag() {
        Module module = LibraryLoader.class.getModule();
        return "--enable-native-access=" + (module.isNamed() ? module.getName() : "ALL-UNNAMED");
    }
}
