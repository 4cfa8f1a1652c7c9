package io.nccl4j.bootstrap;

import io.nccl4j.internal.TimeLimit;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Ranks that share a folder: what a rank gives is a file there, and all ranks look for the files of all. */
final class FileBootstrap extends HostExchange {
    private static final Logger LOG = LoggerFactory.getLogger(FileBootstrap.class);

    private final FileMeeting meeting;
    private final SignedFiles session;
    private final int localRank;
    private boolean left;

    private FileBootstrap(int rank, int size, BootstrapOptions options, FileMeeting meeting, SignedFiles session,
            int localRank) {
        super(rank, size, options.limit());
        this.meeting = meeting;
        this.session = session;
        this.localRank = localRank;
    }

    static FileBootstrap join(Path folder, int rank, int size, BootstrapOptions options) {
        checkRank(rank, size);
        try {
            SignedFiles.prepare(folder, options.secret() != null);
            SignedFiles files = new SignedFiles(folder.toRealPath(), Secret.of(options.secret(), options.job()));
            FileMeeting meeting = new FileMeeting(files, rank, size);
            SignedFiles session = files.below(meet(meeting, options));
            Integer known = options.localRank();
            int local = known != null ? known : HostIdentity.localRank(meeting.hosts(), rank);
            FileBootstrap made = new FileBootstrap(rank, size, options, meeting, session, local);
            // Nobody cleans up before all have read what is in the folder.
            made.barrier();
            return made;
        } catch (IOException e) {
            throw new IllegalStateException("rank " + rank + " cannot meet others in " + folder + ": " + e.getMessage(),
                    e);
        }
    }

    private static String meet(FileMeeting meeting, BootstrapOptions options) throws IOException {
        boolean met = false;
        try {
            String session = meeting.await(System.nanoTime() + TimeLimit.nanos(options.limit()),
                    TimeLimit.millis(options.limit()));
            met = true;
            return session;
        } finally {
            if (!met) {
                meeting.cleanUp();
            }
        }
    }

    @Override
    public int localRank() {
        return localRank;
    }

    @Override
    byte[][] exchange(long call, byte[] mine, long deadline) {
        try {
            session.write(name(call, rank()), mine);
            byte[][] given = new byte[size()][];
            given[rank()] = mine.clone();
            Pause pause = new Pause(deadline);
            while (!collect(call, given)) {
                if (!pause.next()) {
                    throw missing(RankSet.describe(size(), other -> given[other] == null));
                }
            }
            // All have written this call, so all have read the one before.
            session.delete(name(call - 1, rank()));
            return given;
        } catch (IOException e) {
            throw new IllegalStateException(this + " cannot use " + session + ": " + e.getMessage(), e);
        }
    }

    private static String name(long call, int rank) {
        return call + "-" + rank;
    }

    private boolean collect(long call, byte[][] given) throws IOException {
        boolean complete = true;
        for (int other = 0; other < given.length; other++) {
            if (given[other] == null) {
                // Asked first: a rank writes its part before it leaves.
                boolean left = session.read("left-" + other) != null;
                given[other] = session.read(name(call, other));
                if (given[other] == null) {
                    complete = false;
                    checkGoingOn(other, left);
                }
            }
        }
        return complete;
    }

    private void checkGoingOn(int other, boolean left) throws IOException {
        for (int any = 0; any < size(); any++) {
            byte[] reason = session.read("failed-" + any);
            if (reason != null) {
                throw new IllegalStateException(
                        "rank " + any + " has given up: " + new String(reason, StandardCharsets.UTF_8));
            }
        }
        if (left) {
            throw new IllegalStateException("rank " + other + " has left");
        }
    }

    @Override
    void giveUp(String reason) {
        try {
            session.write("failed-" + rank(), reason.getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            LOG.warn("{} could not tell others why it gives up: {}", this, e.toString());
        }
        leave();
    }

    @Override
    void leave() {
        if (left) {
            return;
        }
        left = true;
        try {
            session.write("left-" + rank(), new byte[0]);
            meeting.cleanUp();
            for (int other = 0; other < size(); other++) {
                if (session.read("left-" + other) == null) {
                    return;
                }
            }
            session.deleteAll();
        } catch (IOException e) {
            // Its files stay; the next job does not mind them.
            LOG.warn("{} could not clean up {}: {}", this, session, e.toString());
        }
    }
}
