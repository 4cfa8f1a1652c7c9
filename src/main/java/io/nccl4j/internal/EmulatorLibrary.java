package io.nccl4j.internal;

import io.nccl4j.NativeLibraryException;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import org.slf4j.LoggerFactory;

/** Finds the emulator's shared library: a file named by property or environment, or the one in the emulator's jar. */
final class EmulatorLibrary {
    static final String FILE = "libnccl4j_emulator.so";
    private static final String PROPERTY = "nccl4j.emulator.library";
    private static final String VARIABLE = "NCCL4J_EMULATOR_LIBRARY";

    /** Guarded by the lock of the loader. */
    private static @Nullable Path extracted;

    private EmulatorLibrary() {
    }

    static Path find(List<String> attempts) {
        String named = System.getProperty(PROPERTY, System.getenv(VARIABLE));
        if (named != null) {
            return Path.of(named).toAbsolutePath();
        }
        attempts.add("property " + PROPERTY + " and variable " + VARIABLE + ": not set");
        String os = System.getProperty("os.name", "");
        String platform = platform(os, System.getProperty("os.arch", ""));
        String resource = platform + "/" + FILE;
        // Not a legal package name, so it is found from every module and class loader below.
        URL url = EmulatorLibrary.class.getResource("/" + resource);
        if (url == null && Thread.currentThread().getContextClassLoader() != null) {
            url = Thread.currentThread().getContextClassLoader().getResource(resource);
        }
        if (url == null) {
            url = ClassLoader.getSystemResource(resource);
        }
        if (url == null) {
            attempts.add("resource " + resource + ": not on the class path or module path");
            throw new NativeLibraryException(os.equals("Linux")
                    ? "the emulator was not found: add the artifact io.nccl4j:nccl4j with classifier emulator-"
                            + platform
                    : "the emulator runs on Linux only, and this is " + os, attempts);
        }
        try {
            return url.getProtocol().equals("file") ? Path.of(URI.create(url.toString())) : extract(url);
        } catch (IOException e) {
            attempts.add(url + ": " + e);
            throw new NativeLibraryException("the emulator cannot be unpacked to the temporary folder", attempts);
        }
    }

    private static String platform(String os, String arch) {
        String processor = arch.equals("amd64") ? "x86_64" : arch;
        return os.toLowerCase(Locale.ROOT).replace(' ', '_') + "-" + processor;
    }

    private static Path extract(URL url) throws IOException {
        Path folder = Files.createTempDirectory("nccl4j-");
        Path file = folder.resolve(FILE);
        extracted = file;
        try (InputStream in = url.openStream()) {
            Files.copy(in, file, StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException e) {
            discard();
            throw e;
        }
        return file;
    }

    /** Deletes what was unpacked: once it is loaded, nothing needs the file, which would stay if the JVM is killed. */
    static void discard() {
        Path file = extracted;
        if (file != null) {
            extracted = null;
            try {
                Files.deleteIfExists(file);
                Files.deleteIfExists(file.getParent());
            } catch (IOException e) {
                LoggerFactory.getLogger("io.nccl4j.libraries").warn("cannot delete {}: {}", file, e.toString());
            }
        }
    }

    /** The linker's words about a file, with what to do about a folder from which nothing may be executed. */
    static String explain(Path file, String linkersWords) {
        return file + ": " + linkersWords
                + (linkersWords.contains("failed to map segment")
                        ? "; its folder is mounted noexec: name another with -Djava.io.tmpdir=<folder>, or unpack "
                                + FILE + " from the jar and name it with -D" + PROPERTY + "=<file>"
                        : "");
    }
}
