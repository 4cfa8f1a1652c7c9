package io.nccl4j.bootstrap;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Small files in a folder that appear as a whole or not at all, each with a proof that it comes from the job. One
 * without proof is taken for not being there, and so is whatever is no regular file: a link, a pipe, a device.
 */
final class SignedFiles {
    private final Path folder;
    private final Secret secret;

    private SignedFiles(Path folder, Secret secret) {
        this.folder = folder;
        this.secret = secret;
    }

    /**
     * Files of a folder, which is made for this user only if it is not there.
     *
     * @param guarded whether the secret keeps strangers out; without it, a folder that others own or can write to is
     *     refused
     */
    static SignedFiles in(Path folder, Secret secret, boolean guarded) throws IOException {
        Path place = folder.toAbsolutePath();
        boolean posix = place.getFileSystem().supportedFileAttributeViews().contains("posix");
        try {
            Path parent = place.getParent();
            if (parent != null) {
                Files.createDirectories(parent);
            }
            if (posix) {
                Files.createDirectory(place,
                        PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
            } else {
                Files.createDirectory(place);
            }
        } catch (FileAlreadyExistsException e) {
            if (Files.isSymbolicLink(place)) {
                throw new IOException(place + " is a link to " + Files.readSymbolicLink(place)
                        + ": name the folder itself, a link could be changed by its owner", e);
            }
            if (!Files.isDirectory(place, LinkOption.NOFOLLOW_LINKS)) {
                throw new IOException(place + " is not a folder", e);
            }
        }
        SignedFiles files = new SignedFiles(place, secret);
        if (posix && !guarded) {
            files.requireOwn();
        }
        return files;
    }

    private void requireOwn() throws IOException {
        String remedy = ": take a folder of your own, or set NCCL4J_BOOTSTRAP_SECRET to the same text for all ranks";
        Set<PosixFilePermission> permissions = Files.getPosixFilePermissions(folder, LinkOption.NOFOLLOW_LINKS);
        if (permissions.contains(PosixFilePermission.OTHERS_WRITE)
                || permissions.contains(PosixFilePermission.GROUP_WRITE)) {
            throw new IOException("other users can write to " + folder + remedy);
        }
        // The owner of a new file is this process's user by the names of that file system.
        Path trial = partial("owner");
        try {
            Files.createFile(trial);
            Object owner = Files.getOwner(folder, LinkOption.NOFOLLOW_LINKS);
            Object self = Files.getOwner(trial, LinkOption.NOFOLLOW_LINKS);
            if (!owner.equals(self)) {
                throw new IOException(folder + " belongs to user " + owner + ", and this process is of user " + self
                        + remedy);
            }
        } finally {
            Files.deleteIfExists(trial);
        }
    }

    private Path partial(String name) {
        return folder.resolve(".partial-" + name + "-" + HexFormat.of().formatHex(Secret.nonce()));
    }

    /** Files of a folder below. */
    SignedFiles below(String name) throws IOException {
        Path inner = folder.resolve(name);
        Files.createDirectories(inner);
        return new SignedFiles(inner, secret);
    }

    void write(String name, byte[] contents) throws IOException {
        Path partial = partial(name);
        try {
            try (OutputStream out = Files.newOutputStream(partial, StandardOpenOption.CREATE_NEW,
                    StandardOpenOption.WRITE)) {
                out.write(secret.proof(place(name), contents));
                out.write(contents);
            }
            Files.move(partial, folder.resolve(name), StandardCopyOption.ATOMIC_MOVE,
                    StandardCopyOption.REPLACE_EXISTING);
        } finally {
            Files.deleteIfExists(partial);
        }
    }

    /** The contents; null if there is no such file, or one that the job has not written. */
    byte @Nullable [] read(String name, int maxBytes) throws IOException {
        Path file = folder.resolve(name);
        byte[] all;
        try {
            // Looked at before it is opened: opening a pipe waits for whoever writes to it.
            if (!Files.readAttributes(file, BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS).isRegularFile()) {
                return null;
            }
            try (InputStream in = Files.newInputStream(file, LinkOption.NOFOLLOW_LINKS)) {
                all = in.readNBytes(Secret.PROOF_BYTES + maxBytes + 1);
            }
        } catch (NoSuchFileException e) {
            return null;
        }
        if (all.length < Secret.PROOF_BYTES || all.length > Secret.PROOF_BYTES + maxBytes) {
            return null;
        }
        byte[] contents = Arrays.copyOfRange(all, Secret.PROOF_BYTES, all.length);
        return secret.proves(Arrays.copyOf(all, Secret.PROOF_BYTES), place(name), contents) ? contents : null;
    }

    /** Names of what is there and begins so. */
    List<String> names(String prefix) throws IOException {
        List<String> names = new ArrayList<>();
        try (DirectoryStream<Path> files = Files.newDirectoryStream(folder, prefix + "*")) {
            files.forEach(file -> names.add(file.getFileName().toString()));
        } catch (NoSuchFileException e) {
            return List.of();
        }
        return names;
    }

    void delete(String name) throws IOException {
        Files.deleteIfExists(folder.resolve(name));
    }

    /** Deletes a folder below with the files in it; others may be doing the same. */
    void deleteFolder(String name) throws IOException {
        SignedFiles inner = new SignedFiles(folder.resolve(name), secret);
        for (String file : inner.names("")) {
            inner.delete(file);
        }
        delete(name);
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
