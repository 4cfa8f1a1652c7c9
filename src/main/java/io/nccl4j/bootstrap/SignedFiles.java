package io.nccl4j.bootstrap;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Small files in a folder that appear as a whole or not at all, each with a proof that it comes from the job. One
 * without is taken for not being there.
 */
final class SignedFiles {
    private static final String PARTIAL = ".partial-";

    private final Path folder;
    private final Secret secret;

    SignedFiles(Path folder, Secret secret) {
        this.folder = folder;
        this.secret = secret;
    }

    /** Makes the folder for this user only, or refuses one in which others could write. */
    static boolean prepare(Path folder, boolean secretKnown) throws IOException {
        boolean posix = folder.getFileSystem().supportedFileAttributeViews().contains("posix");
        try {
            Path parent = folder.toAbsolutePath().getParent();
            if (parent != null) {
                Files.createDirectories(parent);
            }
            if (posix) {
                Files.createDirectory(folder,
                        PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
            } else {
                Files.createDirectory(folder);
            }
            return true;
        } catch (FileAlreadyExistsException e) {
            if (!Files.isDirectory(folder)) {
                throw new IOException(folder + " is not a folder", e);
            }
        }
        if (posix && !secretKnown) {
            Set<PosixFilePermission> permissions = Files.getPosixFilePermissions(folder);
            if (permissions.contains(PosixFilePermission.OTHERS_WRITE)
                    || permissions.contains(PosixFilePermission.GROUP_WRITE)) {
                throw new IOException("other users can write to " + folder + ": take a folder of your own, or set "
                        + "NCCL4J_BOOTSTRAP_SECRET to the same text for all ranks");
            }
        }
        return false;
    }

    /** Files of a folder below. */
    SignedFiles below(String name) throws IOException {
        Path inner = folder.resolve(name);
        Files.createDirectories(inner);
        return new SignedFiles(inner, secret);
    }

    void write(String name, byte[] contents) throws IOException {
        byte[] proof = secret.proof(place(name), contents);
        byte[] all = ByteBuffer.allocate(proof.length + contents.length).put(proof).put(contents).array();
        Path partial = folder.resolve(PARTIAL + name + "-" + HexFormat.of().formatHex(Secret.nonce()));
        try {
            Files.write(partial, all);
            Files.move(partial, folder.resolve(name), StandardCopyOption.ATOMIC_MOVE,
                    StandardCopyOption.REPLACE_EXISTING);
        } finally {
            Files.deleteIfExists(partial);
        }
    }

    /** The contents; null if there is no such file, or one that the job has not written. */
    byte @Nullable [] read(String name) throws IOException {
        Path file = folder.resolve(name);
        byte[] all;
        try {
            if (Files.size(file) > Secret.PROOF_BYTES + HostExchange.MOST_BYTES) {
                return null;
            }
            all = Files.readAllBytes(file);
        } catch (NoSuchFileException e) {
            return null;
        }
        if (all.length < Secret.PROOF_BYTES) {
            return null;
        }
        byte[] contents = Arrays.copyOfRange(all, Secret.PROOF_BYTES, all.length);
        return secret.proves(Arrays.copyOf(all, Secret.PROOF_BYTES), place(name), contents) ? contents : null;
    }

    void delete(String name) throws IOException {
        Files.deleteIfExists(folder.resolve(name));
    }

    /** Deletes the folder with all that is in it; others may be doing the same. */
    void deleteAll() throws IOException {
        try (var files = Files.newDirectoryStream(folder)) {
            for (Path file : files) {
                Files.deleteIfExists(file);
            }
        } catch (NoSuchFileException e) {
            return;
        }
        Files.deleteIfExists(folder);
    }

    /** A file is bound to its name and folder, so that one cannot pass for another. */
    private byte[] place(String name) {
        return (folder.getFileName() + "/" + name).getBytes(StandardCharsets.UTF_8);
    }

    @Override
    public String toString() {
        return folder.toString();
    }
}
