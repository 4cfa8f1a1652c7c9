package io.nccl4j.bootstrap;

import io.nccl4j.WaitTimeoutException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;
import org.jspecify.annotations.Nullable;

/**
 * How processes agree, by files, that they are the ranks of one job now, whatever former jobs have left:
 *
 * <ol>
 * <li>each rank writes {@code join-r} with a number that it has just drawn;
 * <li>rank 0 draws a number for the session and writes {@code session} with the numbers of all ranks, and again
 * whenever one of them changes;
 * <li>each rank that finds its own number there writes {@code ready-r} with the session's;
 * <li>when all are ready for the present session, rank 0 writes {@code go}.
 * </ol>
 */
final class FileMeeting {
    private static final int NONCE = Secret.NONCE_BYTES;

    private final SignedFiles files;
    private final int rank;
    private final int size;
    private final byte[] nonce = Secret.nonce();
    private final byte[] join;
    private final boolean[] seen;
    private byte[] session = {};
    private byte[] invitation = {};

    FileMeeting(SignedFiles files, int rank, int size) {
        this.files = files;
        this.rank = rank;
        this.size = size;
        this.seen = new boolean[size];
        byte[] host = HostIdentity.get().getBytes(StandardCharsets.UTF_8);
        this.join = ByteBuffer.allocate(NONCE + 4 + host.length).put(nonce).putInt(size).put(host).array();
    }

    /** Name of the folder of the session in which all ranks are. */
    String await(long deadline, long limitMillis) throws IOException {
        files.write(name("join", rank), join);
        Pause pause = new Pause(deadline);
        while (true) {
            checkOnlyOne();
            look();
            if (rank == 0 ? lead() : follow()) {
                return "session-" + HexFormat.of().formatHex(session);
            }
            if (!pause.next()) {
                throw new WaitTimeoutException(
                        describeMissing() + " did not come to " + files + " within " + limitMillis
                                + " ms (rank " + rank + " of " + size + " waits)");
            }
        }
    }

    private static String name(String kind, int rank) {
        return kind + "-" + rank;
    }

    private void checkOnlyOne() throws IOException {
        byte[] present = files.read(name("join", rank));
        if (present == null) {
            // A former job has cleaned up late.
            files.write(name("join", rank), join);
        } else if (!Arrays.equals(present, join)) {
            throw new IllegalStateException("another process calls itself rank " + rank + " in " + files);
        }
    }

    /** Remembers who is there, or for a session who is ready: others that give up clean up. */
    private void look() throws IOException {
        for (int other = 0; other < size; other++) {
            if (!seen[other]) {
                seen[other] = session.length == 0 ? number(other) != null : isReady(other);
            }
        }
    }

    private boolean isReady(int other) throws IOException {
        return other == 0 || other == rank || Arrays.equals(files.read(name("ready", other)), session);
    }

    private void enter(byte[] invited) {
        if (!Arrays.equals(invited, invitation)) {
            invitation = invited;
            session = Arrays.copyOf(invited, NONCE);
            // Who was there may have been of a former job.
            Arrays.fill(seen, false);
        }
    }

    private boolean lead() throws IOException {
        ByteBuffer numbers = ByteBuffer.allocate(size * NONCE);
        for (int other = 0; other < size; other++) {
            byte[] number = number(other);
            if (number == null) {
                return false;
            }
            numbers.put(number);
        }
        if (invitation.length == 0
                || !Arrays.equals(invitation, NONCE, invitation.length, numbers.array(), 0, numbers.capacity())) {
            enter(ByteBuffer.allocate(NONCE + numbers.capacity()).put(Secret.nonce()).put(numbers.array()).array());
        }
        if (!Arrays.equals(files.read("session"), invitation)) {
            files.write("session", invitation);
        }
        for (int other = 1; other < size; other++) {
            if (!isReady(other)) {
                return false;
            }
        }
        files.write("go", session);
        return true;
    }

    /** The number that a rank has drawn; null if it has not, or was of a job of another size. */
    private byte @Nullable [] number(int other) throws IOException {
        byte[] present = files.read(name("join", other));
        return present == null || present.length < NONCE + 4 || ByteBuffer.wrap(present).getInt(NONCE) != size
                ? null
                : Arrays.copyOf(present, NONCE);
    }

    private boolean follow() throws IOException {
        byte[] present = files.read("session");
        if (present != null && present.length == (size + 1) * NONCE
                && Arrays.equals(present, (rank + 1) * NONCE, (rank + 2) * NONCE, nonce, 0, NONCE)) {
            enter(present);
            if (!Arrays.equals(files.read(name("ready", rank)), session)) {
                files.write(name("ready", rank), session);
            }
        }
        return session.length > 0 && Arrays.equals(files.read("go"), session);
    }

    private String describeMissing() throws IOException {
        look();
        for (boolean one : seen) {
            if (!one) {
                return RankSet.describe(size, other -> !seen[other]);
            }
        }
        // What rank 0 has left may be of a former job: if nobody else is missing, rank 0 is.
        return "rank 0";
    }

    /** The machines of all ranks. */
    String[] hosts() throws IOException {
        String[] hosts = new String[size];
        for (int other = 0; other < size; other++) {
            byte[] present = files.read(name("join", other));
            hosts[other] = present == null || present.length < NONCE + 4
                    ? ""
                    : new String(present, NONCE + 4, present.length - NONCE - 4, StandardCharsets.UTF_8);
        }
        return hosts;
    }

    /** Removes what this rank has written, unless another job uses the folder by now. */
    void cleanUp() throws IOException {
        if (Arrays.equals(files.read(name("join", rank)), join)) {
            files.delete(name("join", rank));
            files.delete(name("ready", rank));
        }
        if (rank == 0 && Arrays.equals(files.read("session"), invitation)) {
            files.delete("session");
            files.delete("go");
        }
    }
}
