package io.nccl4j.bootstrap;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** For ranks that are threads of one process. They meet in memory, nothing is opened or written. */
public final class InProcessBootstrap extends HostExchange {
    /** What the ranks share; guarded by itself. */
    private static final class Meeting {
        private final int size;
        private final @Nullable String[] left;
        private byte[][] given;
        private int arrived;
        private long completed;
        private byte[] @Nullable [] result;
        private @Nullable String broken;

        Meeting(int size) {
            this.size = size;
            this.left = new @Nullable String[size];
            this.given = new byte[size][];
        }
    }

    private final Meeting meeting;

    private InProcessBootstrap(Meeting meeting, int rank, Duration limit) {
        super(rank, meeting.size, limit);
        this.meeting = meeting;
    }

    /** One for each of {@code size} ranks, with the default limit. */
    public static List<InProcessBootstrap> of(int size) {
        return of(size, BootstrapOptions.defaults().limit());
    }

    /** One for each of {@code size} ranks. */
    public static List<InProcessBootstrap> of(int size, Duration limit) {
        checkRank(0, size);
        if (limit.isNegative() || limit.isZero()) {
            throw new IllegalArgumentException("limit is " + limit + ": must be positive");
        }
        Meeting meeting = new Meeting(size);
        return IntStream.range(0, size).mapToObj(rank -> new InProcessBootstrap(meeting, rank, limit)).toList();
    }

    /** All ranks are on this machine. */
    @Override
    public int localRank() {
        return rank();
    }

    @Override
    byte[][] exchange(long call, byte[] mine, long deadline) {
        synchronized (meeting) {
            checkAllHere();
            // Nobody is here before all have left the call before, because each waits for its own result there.
            meeting.given[rank()] = mine.clone();
            meeting.arrived++;
            if (meeting.arrived == meeting.size) {
                meeting.result = meeting.given;
                meeting.given = new byte[meeting.size][];
                meeting.arrived = 0;
                meeting.completed = call;
                meeting.notifyAll();
            }
            while (meeting.completed < call) {
                checkAllHere();
                await(deadline);
            }
            return copy(meeting.result);
        }
    }

    private void checkAllHere() {
        if (meeting.broken != null) {
            throw new IllegalStateException(meeting.broken);
        }
        for (int other = 0; other < meeting.size; other++) {
            String reason = meeting.left[other];
            if (reason != null && meeting.given[other] == null) {
                throw new IllegalStateException("rank " + other + " " + reason);
            }
        }
    }

    private void await(long deadline) {
        long rest = deadline - System.nanoTime();
        if (rest <= 0) {
            byte[][] given = meeting.given;
            throw missing(RankSet.describe(meeting.size, other -> given[other] == null));
        }
        try {
            TimeUnit.NANOSECONDS.timedWait(meeting, rest);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(this + " was interrupted while it waited for other ranks", e);
        }
    }

    /** The ranks would be out of step, so nobody goes on. */
    @Override
    void giveUp(String reason) {
        synchronized (meeting) {
            if (meeting.broken == null) {
                meeting.broken = "rank " + rank() + " has given up: " + reason;
                meeting.notifyAll();
            }
        }
    }

    private static byte[][] copy(byte[] @Nullable [] result) {
        byte[][] copy = new byte[result.length][];
        for (int rank = 0; rank < copy.length; rank++) {
            copy[rank] = result[rank].clone();
        }
        return copy;
    }

    @Override
    void leave() {
        leave("has left");
    }

    /**
     * Leaves for a reason that the other ranks shall hear of: calls that wait for this rank end with it.
     *
     * @param reason how the sentence goes on that begins with the rank
     */
    public void leave(String reason) {
        synchronized (meeting) {
            if (meeting.left[rank()] == null) {
                meeting.left[rank()] = reason;
                meeting.notifyAll();
            }
        }
    }
}
