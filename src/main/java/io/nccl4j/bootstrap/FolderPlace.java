package io.nccl4j.bootstrap;

import io.nccl4j.internal.HostName;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.NetworkInterface;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Rank 0 writes into a folder where it listens, and a number that it has drawn. The key of the connections is made from
 * that number and the secret, so a process belongs to the job only if it can read the file and knows the secret. A file
 * that a former job has left leads nowhere, and is replaced.
 *
 * <p>Lines of the file: a proof of the others, the number, the port, the machine, addresses.
 */
final class FolderPlace implements MeetingPlace {
    private static final HexFormat HEX = HexFormat.of();
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
    private @Nullable String written;

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
        return "rank-0-" + HEX.formatHex(job.proof(), 0, 8);
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
            Files.createDirectory(place, permissions(posix, "rwx------"));
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

    private static FileAttribute<?>[] permissions(boolean posix, String text) {
        return posix
                ? new FileAttribute<?>[]{PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString(text))}
                : new FileAttribute<?>[0];
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
        return Files.createFile(folder.resolve(".partial-" + HEX.formatHex(Secret.nonce())),
                permissions(posix, guarded ? "rw-r--r--" : "rw-------"));
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
        List<String> lines = new ArrayList<>(
                List.of(HEX.formatHex(drawn), Integer.toString(port), HostName.ofMachine()));
        NetworkInterface.networkInterfaces().flatMap(NetworkInterface::inetAddresses)
                .filter(address -> !address.isLoopbackAddress() && !address.isLinkLocalAddress())
                .map(InetAddress::getHostAddress).forEach(lines::add);
        String contents = String.join("\n", lines);
        written = contents;
        Path partial = createFile();
        try {
            Files.writeString(partial, new String(proof(contents), StandardCharsets.UTF_8) + "\n" + contents);
            Files.move(partial, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } finally {
            Files.deleteIfExists(partial);
        }
    }

    private byte[] proof(String contents) {
        return HEX.formatHex(job.proof(contents.getBytes(StandardCharsets.UTF_8))).getBytes(StandardCharsets.UTF_8);
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
        if (written != null && written.equals(read())) {
            Files.deleteIfExists(file);
        }
    }

    @Override
    public List<InetSocketAddress> find() throws IOException {
        String contents = read();
        if (contents == null) {
            throw new FileNotFoundException("it has left no word there");
        }
        String[] lines = contents.split("\n");
        int port = Integer.parseInt(lines[1]);
        List<InetSocketAddress> addresses = new ArrayList<>();
        if (lines[2].equals(HostName.ofMachine())) {
            addresses.add(new InetSocketAddress(InetAddress.getLoopbackAddress(), port));
        }
        for (int i = 3; i < lines.length; i++) {
            addresses.add(new InetSocketAddress(InetAddress.ofLiteral(lines[i]), port));
        }
        key = key(HEX.parseHex(lines[0]));
        return addresses;
    }

    /** The contents; null if the file is not there, is no regular one, or is not of this job. */
    private @Nullable String read() throws IOException {
        // Looked at before it is opened: opening a pipe waits for whoever writes to it.
        if (!Files.isRegularFile(file, NO_LINKS)) {
            return null;
        }
        try (InputStream in = Files.newInputStream(file, NO_LINKS)) {
            String[] parts = new String(in.readNBytes(MAX_BYTES), StandardCharsets.UTF_8).split("\n", 2);
            byte[] given = parts[0].getBytes(StandardCharsets.UTF_8);
            return parts.length == 2 && MessageDigest.isEqual(given, proof(parts[1])) ? parts[1] : null;
        } catch (NoSuchFileException e) {
            return null;
        }
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
