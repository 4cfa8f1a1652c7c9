package io.nccl4j.internal;

import io.nccl4j.NativeLibraryException;
import java.io.File;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.SymbolLookup;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** Finds and loads the real libraries one by one, and keeps a record of every place tried. */
final class LibrarySearch {
    private final List<String> attempts;
    private final Set<Path> roots = new LinkedHashSet<>();

    LibrarySearch(List<String> attempts) {
        this.attempts = attempts;
        addRoots("property nccl4j.library.path", System.getProperty("nccl4j.library.path"));
        addRoots("NCCL4J_LIBRARY_PATH", System.getenv("NCCL4J_LIBRARY_PATH"));
        for (String variable : List.of("CUDA_HOME", "CUDA_PATH", "NCCL_HOME")) {
            addRoots(variable, System.getenv(variable));
        }
        for (String variable : List.of("VIRTUAL_ENV", "CONDA_PREFIX")) {
            addSitePackages(System.getenv(variable));
        }
    }

    private void addRoots(String source, @Nullable String path) {
        if (path == null || path.isBlank()) {
            attempts.add(source + ": not set");
            return;
        }
        for (String part : path.split(File.pathSeparator)) {
            if (!part.isBlank()) {
                roots.add(Path.of(part).toAbsolutePath());
            }
        }
    }

    /** Of the Python environment that is active, where NVIDIA's packages are. */
    private void addSitePackages(@Nullable String environment) {
        Path lib = environment == null ? null : Path.of(environment, "lib").toAbsolutePath();
        if (lib == null || !Files.isDirectory(lib)) {
            return;
        }
        try (DirectoryStream<Path> versions = Files.newDirectoryStream(lib, "python3*")) {
            versions.forEach(version -> roots.add(version.resolve("site-packages")));
        } catch (IOException e) {
            attempts.add(lib + ": " + e);
        }
    }

    /** The others are most likely in the folder of this one, or beside it in a layout that has a folder for each. */
    void lookBeside(LibraryName name, String file) {
        Path folder = Path.of(file).getParent();
        if (folder == null) {
            return;
        }
        roots.add(folder);
        for (String known : name.folders()) {
            Path root = folder;
            for (int part = 0; root != null && part < Path.of(known).getNameCount(); part++) {
                root = root.getParent();
            }
            if (!known.isEmpty() && root != null && root.resolve(known).equals(folder)) {
                roots.add(root);
            }
        }
    }

    /** Loads one library and returns its file. */
    String load(LibraryName name) {
        String soname = name.fileNames().getFirst();
        String named = System.getProperty(name.property());
        if (named != null) {
            Path file = Path.of(named).toAbsolutePath();
            if (tryLoad(file, soname)) {
                return found(name, file);
            }
            throw missing(name);
        }
        Path present = ProcessLibraries.find(soname);
        if (present != null && tryLoad(present, soname)) {
            return found(name, present);
        }
        for (Path file : candidates(name)) {
            if (tryLoad(file, soname)) {
                return found(name, file);
            }
        }
        for (String fileName : name.fileNames()) {
            String file = tryLinkerPath(fileName);
            if (file != null) {
                return file;
            }
        }
        throw missing(name);
    }

    private String found(LibraryName name, Path file) {
        lookBeside(name, file.toString());
        return file.toString();
    }

    private NativeLibraryException missing(LibraryName name) {
        return new NativeLibraryException("cannot load " + name.fileNames().getFirst() + ". Install " + name.origin()
                + ". Name its folder with -Dnccl4j.library.path=<folder>[:<folder>], its file with -D" + name.property()
                + "=<file>, or run on the emulator with -Dnccl4j.backend=emulator", attempts);
    }

    private List<Path> candidates(LibraryName name) {
        List<Path> files = new ArrayList<>();
        for (Path root : roots) {
            boolean found = false;
            for (String folder : name.folders()) {
                for (String fileName : name.fileNames()) {
                    Path file = root.resolve(folder).resolve(fileName);
                    if (Files.exists(file)) {
                        files.add(file);
                        found = true;
                    }
                }
            }
            if (!found) {
                attempts.add(root + ": no " + name.fileNames().getFirst() + " there or in its usual subfolders");
            }
        }
        return files;
    }

    private boolean tryLoad(Path file, String soname) {
        try {
            ProcessLibraries.load(file, soname);
            return true;
        } catch (UnsatisfiedLinkError e) {
            attempts.add(file + ": " + e.getMessage());
            return false;
        }
    }

    /**
     * Lets the dynamic linker search by soname (its cache, LD_LIBRARY_PATH), then loads the file that it chose once
     * more by path, so that this class loader knows it.
     */
    private @Nullable String tryLinkerPath(String fileName) {
        try {
            SymbolLookup.libraryLookup(fileName, Arena.global());
        } catch (IllegalArgumentException e) {
            attempts.add(fileName + ": not on the dynamic linker's path");
            return null;
        }
        Path mapped = ProcessLibraries.find(fileName);
        if (mapped == null) {
            attempts.add(fileName + ": loaded, but not found in /proc/self/maps");
            return null;
        }
        return tryLoad(mapped, fileName) ? mapped.toString() : null;
    }
}
