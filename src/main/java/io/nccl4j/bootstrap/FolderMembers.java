package io.nccl4j.bootstrap;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;
import org.jspecify.annotations.Nullable;

/**
 * How processes agree, by files, that they are the ranks of one job now, whatever former jobs have left. Each writes a
 * file with a number that it has drawn and the numbers of all ranks that it sees. When the files of all ranks hold the
 * same numbers, these name the session. Used by one thread.
 */
final class FolderMembers {
    private static final int NONCE = Secret.NONCE_BYTES;
    private static final int MAX_PLACE_BYTES = 4096;

    /** A rank's file: size of the job, its number, the numbers that it sees, and its process. */
    private record Member(byte[] nonce, byte[] view, ProcessIdentity process) {
        byte[] encode(int size) {
            byte[] place = process.place().getBytes(StandardCharsets.UTF_8);
            return ByteBuffer.allocate(fixedBytes(size) + place.length).putInt(size).put(nonce).put(view)
                    .putLong(process.pid()).putLong(process.start()).put(place).array();
        }

        /** Null if there is none, or one of a job of another size. */
        static @Nullable Member decode(byte @Nullable [] contents, int size) {
            if (contents == null || contents.length < fixedBytes(size) || ByteBuffer.wrap(contents).getInt() != size) {
                return null;
            }
            byte[] nonce = new byte[NONCE];
            byte[] view = new byte[size * NONCE];
            ByteBuffer fields = ByteBuffer.wrap(contents).position(4).get(nonce).get(view);
            long pid = fields.getLong();
            long start = fields.getLong();
            String place = StandardCharsets.UTF_8.decode(fields).toString();
            return new Member(nonce, view, new ProcessIdentity(place, pid, start));
        }

        static int fixedBytes(int size) {
            return 4 + NONCE + size * NONCE + 16;
        }

        boolean isSame(@Nullable Member other) {
            return other != null && Arrays.equals(nonce, other.nonce);
        }

        /** Whether its process has seen the present file of {@code rank}. */
        boolean sees(Member other, int rank) {
            return Arrays.equals(view, rank * NONCE, (rank + 1) * NONCE, other.nonce, 0, NONCE);
        }
    }

    private final SignedFiles files;
    private final Secret secret;
    private final int rank;
    private final @Nullable Member[] members;
    private final boolean[] everPresent;
    private Member self;

    FolderMembers(SignedFiles files, Secret secret, int rank, int size) {
        this(files, secret, rank, size, ProcessIdentity.own());
    }

    FolderMembers(SignedFiles files, Secret secret, int rank, int size, ProcessIdentity process) {
        this.files = files;
        this.secret = secret;
        this.rank = rank;
        this.members = new Member[size];
        this.everPresent = new boolean[size];
        this.self = new Member(Secret.nonce(), new byte[size * NONCE], process);
    }

    /** Names of jobs that share a folder differ. */
    String prefix(String kind) {
        return kind + "-" + hex("names".getBytes(StandardCharsets.UTF_8)) + "-";
    }

    private String hex(byte[] of) {
        return HexFormat.of().formatHex(secret.proof(of), 0, 8);
    }

    private String name(int other) {
        return prefix("rank") + other;
    }

    private @Nullable Member read(int other) throws IOException {
        byte[] contents = files.read(name(other), Member.fixedBytes(members.length) + MAX_PLACE_BYTES);
        return Member.decode(contents, members.length);
    }

    private void write() throws IOException {
        files.write(name(rank), self.encode(members.length));
    }

    /** Writes this rank's file, unless a process that runs has done so. */
    void join() throws IOException {
        Member present = read(rank);
        if (present != null && present.process.isRunning(self.process)) {
            throw second(present);
        }
        write();
    }

    private IllegalStateException second(Member present) {
        return new IllegalStateException(
                "another process calls itself rank " + rank + " in " + files + ": " + present.process);
    }

    /** Looks for the other ranks; true once all see the same. */
    boolean gather() throws IOException {
        Member own = read(rank);
        if (own != null && !self.isSame(own)) {
            // It came later, and from where nobody can look whether this process runs.
            throw second(own);
        }
        ByteBuffer view = ByteBuffer.allocate(self.view.length);
        for (int other = 0; other < members.length; other++) {
            Member present = other == rank ? self : read(other);
            members[other] = present == null || present.process.hasEnded(self.process) ? null : present;
            view.put(members[other] == null ? new byte[NONCE] : members[other].nonce);
        }
        if (own == null || !Arrays.equals(view.array(), self.view)) {
            self = new Member(self.nonce, view.array(), self.process);
            members[rank] = self;
            write();
        }
        return Arrays.stream(members).allMatch(member -> member != null && Arrays.equals(member.view, self.view));
    }

    /**
     * Which ranks have seen this one; those that former jobs have left have not. Includes ranks that have given up, as
     * long as others never came: they wait no longer than this one.
     */
    boolean[] present() {
        boolean[] present = new boolean[members.length];
        boolean all = true;
        for (int other = 0; other < present.length; other++) {
            Member member = members[other];
            present[other] = other == rank || member != null && member.sees(self, rank);
            everPresent[other] |= present[other];
            all &= everPresent[other];
        }
        return all ? present : everPresent.clone();
    }

    /** Name of the session of those that see the same. */
    String session() {
        return prefix("session") + hex(self.view);
    }

    /** How the process of a rank of the session has ended; null if it runs, or nobody here can know. */
    @Nullable
    String ended(int other) {
        Member member = members[other];
        return member != null && member.process.hasEnded(self.process)
                ? "is lost: " + member.process + " has ended"
                : null;
    }

    /** Restores this rank's file during the session, for a second process that comes late to find. */
    void keep() throws IOException {
        if (!self.isSame(read(rank))) {
            write();
        }
    }

    /** Removes this rank's file. */
    void leave() throws IOException {
        if (self.isSame(read(rank))) {
            files.delete(name(rank));
        }
    }
}
