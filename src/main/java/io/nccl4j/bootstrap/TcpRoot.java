package io.nccl4j.bootstrap;

import io.nccl4j.WaitTimeoutException;
import java.io.Closeable;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.time.Duration;
import java.util.function.Function;

/** Rank 0's part of a call: collects what the other ranks give, and sends all of it to all. */
final class TcpRoot implements Closeable {
    private static final long PROGRESS_NANOS = Duration.ofMillis(500).toNanos();

    private final PeerChannel[] peers;
    private final Selector selector;
    private final byte[][] given;

    /** @param peers connections by rank; none for rank 0 */
    TcpRoot(PeerChannel[] peers) throws IOException {
        this.peers = peers;
        this.given = new byte[peers.length][];
        this.selector = Selector.open();
        for (int rank = 1; rank < peers.length; rank++) {
            peers[rank].channel().register(selector, SelectionKey.OP_READ, rank);
        }
    }

    /** @param missing makes the exception for ranks that do not come */
    byte[][] exchange(long call, byte[] mine, long deadline, Function<String, WaitTimeoutException> missing) {
        try {
            given[0] = mine.clone();
            int expected = peers.length - 1;
            for (int rank = 1; rank < peers.length; rank++) {
                given[rank] = null;
                expected -= take(rank, call) ? 1 : 0;
            }
            while (expected > 0) {
                expected -= collect(call, deadline, missing);
            }
            byte[] all = Frame.join(given);
            for (int rank = 1; rank < peers.length; rank++) {
                peers[rank].send(new Frame(Frame.Kind.RESULT, call, all), deadline);
            }
            return given.clone();
        } catch (InterruptedIOException e) {
            throw failed(call, new IllegalStateException("rank 0 was interrupted or a rank did not take the result: "
                    + e.getMessage(), e));
        } catch (IOException e) {
            throw failed(call, new IllegalStateException(e.getMessage(), e));
        } catch (RuntimeException e) {
            throw failed(call, e);
        }
    }

    /** Waits a while for messages; how many ranks have given something. */
    private int collect(long call, long deadline, Function<String, WaitTimeoutException> missing) throws IOException {
        long now = System.nanoTime();
        if (now - deadline >= 0) {
            throw missing.apply(describeMissing());
        }
        selector.select(Math.max(1, Math.min(PROGRESS_NANOS, deadline - now) / 1_000_000));
        if (Thread.currentThread().isInterrupted()) {
            throw new InterruptedIOException("the thread was interrupted");
        }
        int count = 0;
        for (SelectionKey key : selector.selectedKeys()) {
            count += take((int) key.attachment(), call) ? 1 : 0;
        }
        if (selector.selectedKeys().isEmpty()) {
            tellProgress(call, deadline);
        }
        selector.selectedKeys().clear();
        return count;
    }

    /** Whether this rank's message for the call has come now. */
    private boolean take(int rank, long call) throws IOException {
        Frame frame;
        try {
            frame = peers[rank].poll();
        } catch (IOException e) {
            throw new IOException("rank " + rank + " has left: " + e.getMessage(), e);
        }
        if (frame == null) {
            return false;
        }
        if (frame.kind() != Frame.Kind.GIVEN || frame.call() != call || given[rank] != null) {
            throw new IOException(
                    "rank " + rank + " is out of step: it sent " + frame.kind() + " of its call " + frame.call()
                            + " in call " + call + " of rank 0");
        }
        given[rank] = frame.contents();
        return true;
    }

    private String describeMissing() {
        return RankSet.describe(given.length, rank -> given[rank] == null);
    }

    /** So that ranks whose limit ends before that of rank 0 can name who is missing. */
    private void tellProgress(long call, long deadline) throws IOException {
        Frame waiting = Frame.text(Frame.Kind.WAITING, call, describeMissing());
        for (int rank = 1; rank < peers.length; rank++) {
            if (given[rank] != null) {
                peers[rank].send(waiting, deadline);
            }
        }
    }

    private RuntimeException failed(long call, RuntimeException reason) {
        for (int rank = 1; rank < peers.length; rank++) {
            try {
                peers[rank].send(Frame.text(Frame.Kind.FAILED, call, "rank 0 has given up: " + reason.getMessage()),
                        System.nanoTime() + PROGRESS_NANOS);
            } catch (IOException e) {
                // Who cannot be told any more finds the connection closed.
                reason.addSuppressed(e);
            }
        }
        return reason;
    }

    @Override
    public void close() throws IOException {
        for (int rank = 1; rank < peers.length; rank++) {
            peers[rank].close();
        }
        selector.close();
    }
}
