package io.nccl4j.bootstrap;

import io.nccl4j.internal.HostName;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.NetworkInterface;
import java.nio.ByteBuffer;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Rank 0 writes into a folder where it listens, and a number that it has drawn. The key of the connections is made from
 * that number and the secret, so a process belongs to the job only if it can read the file and knows the secret. A file
 * that a former job has left leads nowhere, and is replaced.
 */
final class FolderPlace implements MeetingPlace {
    private static final int MAX_BYTES = 1 << 16;
    private static final int PROBE_MILLIS = 500;
    private static final LinkOption NO_LINKS = LinkOption.NOFOLLOW_LINKS;

    private final Path folder;
    private final Path file;
    private final boolean posix;
    private final boolean guarded;
    private final Secret job;
    private final byte[] drawn = Secret.nonce();
    private volatile Secret key;
    private byte @Nullable [] written;

    private FolderPlace(Path folder, boolean posix, BootstrapOptions.Values options) {
        this.folder = folder;
        this.posix = posix;
        this.guarded = options.hasSecret();
        this.job = options.key();
        this.file = folder.resolve(fileName(job));
        this.key = key(drawn);
    }

    /** The jobs of a folder use different files. */
    static String fileName(Secret job) {
        return "rank-0-" + HexFormat.of().formatHex(job.proof(), 0, 8);
    }

    private Secret key(byte[] number) {
        return job.derive("folder", number);
    }

    /** Makes the folder for this user only, or looks whether it is safe. */
    static FolderPlace in(Path folder, BootstrapOptions.Values options) throws IOException {
        Path place = folder.toAbsolutePath();
        boolean posix = place.getFileSystem().supportedFileAttributeViews().contains("posix");
        try {
            Path parent = place.getParent();
            if (parent != null) {
                Files.createDirectories(parent);
            }
            if (posix) {
                Files.createDirectory(place, permissions("rwx------"));
            } else {
                Files.createDirectory(place);
            }
        } catch (FileAlreadyExistsException e) {
            if (Files.isSymbolicLink(place)) {
                throw new IOException(place + " is a link to " + Files.readSymbolicLink(place)
                        + ": name the folder itself, because a link can be changed by its owner", e);
            }
            if (!Files.isDirectory(place, NO_LINKS)) {
                throw new IOException(place + " is not a folder", e);
            }
        }
        FolderPlace made = new FolderPlace(place, posix, options);
        if (posix && !made.guarded) {
            made.requireOwn();
        }
        return made;
    }

    /** Without a secret everybody who can write to the folder could pass for a rank. */
    private void requireOwn() throws IOException {
        String remedy = ": take a folder of your own, or set NCCL4J_BOOTSTRAP_SECRET to the same text for all ranks";
        Set<PosixFilePermission> permissions = Files.getPosixFilePermissions(folder, NO_LINKS);
        if (permissions.contains(PosixFilePermission.OTHERS_WRITE)
                || permissions.contains(PosixFilePermission.GROUP_WRITE)) {
            throw new IOException("other users can write to " + folder + remedy);
        }
        // The owner of a new file is this process's user, by the names of that file system.
        Path trial = createFile();
        try {
            Object owner = Files.getOwner(folder, NO_LINKS);
            Object self = Files.getOwner(trial, NO_LINKS);
            if (!owner.equals(self)) {
                throw new IOException(
                        folder + " belongs to user " + owner + ", and this process is of user " + self + remedy);
            }
        } finally {
            Files.deleteIfExists(trial);
        }
    }

    /** A file for this user only; if there is a secret, others may read it. */
    private Path createFile() throws IOException {
        Path path = folder.resolve(".partial-" + HexFormat.of().formatHex(Secret.nonce()));
        return posix
                ? Files.createFile(path, permissions(guarded ? "rw-r--r--" : "rw-------"))
                : Files.createFile(path);
    }

    private static FileAttribute<Set<PosixFilePermission>> permissions(String text) {
        return PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString(text));
    }

    /** All addresses: which of them the others can reach is not known here. */
    @Override
    public InetSocketAddress listeningAddress() {
        return new InetSocketAddress(0);
    }

    @Override
    public void announce(int port) throws IOException {
        for (InetSocketAddress address : former()) {
            if (TcpPeer.isAnswered(address, key, PROBE_MILLIS)) {
                throw new IllegalStateException(
                        "another process calls itself rank 0 in " + folder + ": it listens at " + address);
            }
        }
        key = key(drawn);
        ByteArrayOutputStream contents = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(contents);
        out.write(drawn);
        out.writeInt(port);
        out.writeUTF(HostName.ofMachine());
        for (NetworkInterface one : NetworkInterface.networkInterfaces().toList()) {
            for (InetAddress address : one.inetAddresses().toList()) {
                if (!address.isLoopbackAddress() && !address.isLinkLocalAddress()) {
                    out.writeUTF(address.getHostAddress());
                }
            }
        }
        written = contents.toByteArray();
        Path partial = createFile();
        try {
            Files.write(partial, ByteBuffer.allocate(Secret.PROOF_BYTES + written.length).put(job.proof(written))
                    .put(written).array());
            Files.move(partial, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } finally {
            Files.deleteIfExists(partial);
        }
    }

    private List<InetSocketAddress> former() throws IOException {
        try {
            return find();
        } catch (FileNotFoundException e) {
            return List.of();
        }
    }

    @Override
    public void withdraw() throws IOException {
        if (written != null && Arrays.equals(written, read())) {
            Files.deleteIfExists(file);
        }
    }

    @Override
    public List<InetSocketAddress> find() throws IOException {
        byte[] contents = read();
        if (contents == null) {
            throw new FileNotFoundException("it has left no word there");
        }
        DataInputStream in = new DataInputStream(new ByteArrayInputStream(contents));
        byte[] number = in.readNBytes(Secret.NONCE_BYTES);
        int port = in.readInt();
        List<InetSocketAddress> addresses = new ArrayList<>();
        if (in.readUTF().equals(HostName.ofMachine())) {
            addresses.add(new InetSocketAddress(InetAddress.getLoopbackAddress(), port));
        }
        while (in.available() > 0) {
            addresses.add(new InetSocketAddress(InetAddress.ofLiteral(in.readUTF()), port));
        }
        key = key(number);
        return addresses;
    }

    /** The contents; null if the file is not there, is no regular one, or is not of this job. */
    private byte @Nullable [] read() throws IOException {
        byte[] all;
        try {
            // Looked at before it is opened: opening a pipe waits for whoever writes to it.
            if (!Files.readAttributes(file, BasicFileAttributes.class, NO_LINKS).isRegularFile()) {
                return null;
            }
            try (InputStream in = Files.newInputStream(file, NO_LINKS)) {
                all = in.readNBytes(MAX_BYTES + 1);
            }
        } catch (NoSuchFileException e) {
            return null;
        }
        if (all.length < Secret.PROOF_BYTES || all.length > MAX_BYTES) {
            return null;
        }
        byte[] contents = Arrays.copyOfRange(all, Secret.PROOF_BYTES, all.length);
        return job.proves(Arrays.copyOf(all, Secret.PROOF_BYTES), contents) ? contents : null;
    }

    @Override
    public Secret key() {
        return key;
    }

    @Override
    public boolean mayChange() {
        return true;
    }

    @Override
    public String toString() {
        return "in " + folder;
    }
}
