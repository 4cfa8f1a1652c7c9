package io.nccl4j.benchmarks.bench;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Enumeration;
import java.util.jar.Attributes;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import java.util.jar.JarOutputStream;
import java.util.jar.Manifest;
import java.util.zip.ZipEntry;

/**
 * The jar that a small server would ship: {@link FirstDispatch}, the library, the emulator and a logger in one file.
 * Its manifest allows native access; the option for that makes the JVM do without its archived module graph.
 */
final class ApplicationJar {
    private static final String BENCHMARKS = "io/nccl4j/benchmarks/";
    private static final String PROGRAM = FirstDispatch.class.getName().replace('.', '/') + ".class";

    private ApplicationJar() {
    }

    /**
     * Writes it, from the parts of this program's jar.
     *
     * @throws IOException also if this program does not run from a jar
     */
    static void write(Path target) throws IOException {
        Manifest manifest = new Manifest();
        Attributes attributes = manifest.getMainAttributes();
        attributes.put(Attributes.Name.MANIFEST_VERSION, "1.0");
        attributes.put(Attributes.Name.MAIN_CLASS, FirstDispatch.class.getName());
        attributes.put(new Attributes.Name("Enable-Native-Access"), "ALL-UNNAMED");
        try (JarFile source = new JarFile(ownJar().toFile());
                OutputStream file = Files.newOutputStream(target);
                JarOutputStream out = new JarOutputStream(file, manifest)) {
            for (Enumeration<JarEntry> entries = source.entries(); entries.hasMoreElements();) {
                JarEntry entry = entries.nextElement();
                if (isNeeded(entry.getName())) {
                    out.putNextEntry(like(entry));
                    try (InputStream in = source.getInputStream(entry)) {
                        in.transferTo(out);
                    }
                    out.closeEntry();
                }
            }
        }
    }

    /** The native library uncompressed, as it is in the emulator's jar. */
    private static JarEntry like(JarEntry entry) {
        JarEntry like = new JarEntry(entry.getName());
        if (entry.getName().endsWith(".so")) {
            like.setMethod(ZipEntry.STORED);
            like.setSize(entry.getSize());
            like.setCrc(entry.getCrc());
        }
        return like;
    }

    private static boolean isNeeded(String entry) {
        if (entry.startsWith(BENCHMARKS)) {
            return entry.equals(PROGRAM);
        }
        return entry.startsWith("io/nccl4j/") || entry.startsWith("org/slf4j/") || entry.endsWith(".so")
                || entry.equals("META-INF/services/org.slf4j.spi.SLF4JServiceProvider");
    }

    private static Path ownJar() throws IOException {
        try {
            Path jar = Path.of(ApplicationJar.class.getProtectionDomain().getCodeSource().getLocation().toURI());
            if (Files.isRegularFile(jar)) {
                return jar;
            }
        } catch (URISyntaxException e) {
            throw new IOException(e);
        }
        throw new IOException("start-up is measured from the jar: start with ./ep");
    }
}
