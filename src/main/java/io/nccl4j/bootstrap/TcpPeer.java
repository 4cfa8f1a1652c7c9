package io.nccl4j.bootstrap;

import io.nccl4j.bootstrap.TcpLink.Frame;
import io.nccl4j.bootstrap.TcpLink.Kind;
import io.nccl4j.bootstrap.TcpLink.StrangerException;
import io.nccl4j.nccl.Departure;
import java.io.IOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.StandardSocketOptions;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The end of a rank other than 0. Until all ranks are there it connects again when its connection breaks. */
final class TcpPeer extends TcpStore {
    private static final Logger LOG = LoggerFactory.getLogger(TcpPeer.class);
    private static final int ANSWER_MILLIS = 10_000;
    private static final long FIRST_PAUSE = TimeUnit.MILLISECONDS.toNanos(10);
    private static final long LONGEST_PAUSE = TimeUnit.MILLISECONDS.toNanos(250);

    private final Thread thread;
    /** Guarded by the lock, like the next ones. */
    private @Nullable TcpLink link;
    private @Nullable Socket socket;
    private String problem = "nothing has answered there";

    private TcpPeer(String host, int port, int rank, int size, BootstrapOptions options) {
        super(host, port, rank, size, options);
        this.thread = Thread.ofPlatform().daemon().name("nccl4j bootstrap " + rank).unstarted(this::run);
    }

    static TcpPeer call(String host, int port, int rank, int size, BootstrapOptions options) {
        TcpPeer peer = new TcpPeer(host, port, rank, size, options);
        peer.thread.start();
        return peer;
    }

    private void run() {
        try {
            long pause = FIRST_PAUSE;
            while (connect()) {
                pause(pause);
                pause = Math.min(pause * 2, LONGEST_PAUSE);
            }
        } catch (StrangerException e) {
            fail("rank " + rank + " was turned away " + this + ": " + e.getMessage());
        } catch (IllegalStateException e) {
            fail(e.getMessage());
        } catch (InterruptedException e) {
            throw new AssertionError("nobody interrupts this thread", e);
        }
    }

    private void fail(String reason) {
        synchronized (lock) {
            end(reason);
        }
    }

    private void pause(long nanos) throws InterruptedException {
        long end = System.nanoTime() + nanos;
        synchronized (lock) {
            for (long rest = nanos; rest > 0 && !hasLeft(); rest = end - System.nanoTime()) {
                TimeUnit.NANOSECONDS.timedWait(lock, rest);
            }
        }
    }

    /** One connection, from its begin to its end; whether to try again. */
    private boolean connect() throws StrangerException {
        try (Socket opened = new Socket()) {
            synchronized (lock) {
                if (hasLeft()) {
                    return false;
                }
                socket = opened;
            }
            TcpLink made = introduce(opened);
            try {
                join(made);
                receive(made);
                return false;
            } finally {
                made.finish();
            }
        } catch (StrangerException e) {
            throw e;
        } catch (IOException e) {
            return isWorthAnother(e);
        }
    }

    private TcpLink introduce(Socket opened) throws IOException {
        // Resolved anew each time: names of containers come and go.
        InetAddress address = InetAddress.getByName(host);
        requireSecret(address);
        opened.connect(new InetSocketAddress(address, port), ANSWER_MILLIS);
        refuseItself(opened);
        TcpLink made = new TcpLink(opened, job, false);
        synchronized (lock) {
            problem = "what listens there does not answer";
        }
        opened.setSoTimeout(ANSWER_MILLIS);
        made.introduce(rank, size);
        opened.setSoTimeout(0);
        return made;
    }

    /**
     * On its own machine a connection to a port that nobody listens at can be given that very port as its own, and then
     * meets itself. It must not keep the port from rank 0.
     */
    private static void refuseItself(Socket opened) throws IOException {
        if (opened.getLocalSocketAddress().equals(opened.getRemoteSocketAddress())) {
            opened.setOption(StandardSocketOptions.SO_LINGER, 0);
            throw new ConnectException("nobody listens there");
        }
    }

    private void join(TcpLink made) {
        synchronized (lock) {
            made.send(new Frame(Kind.JOIN, rank));
            valuesOf(rank).forEach((key, value) -> made.send(new Frame(Kind.VALUE, rank, key, value)));
            if (hasLeft()) {
                made.finish();
            } else {
                link = made;
            }
        }
        made.startWriter();
    }

    /** Until rank 0 has gone. */
    private void receive(TcpLink made) throws IOException {
        while (true) {
            Frame frame = made.receive(LONGEST_FRAME);
            synchronized (lock) {
                switch (frame.kind()) {
                    case VALUE -> add(frame.rank(), frame.key(), frame.content());
                    case GONE -> addGone(frame.rank(), departure(frame));
                    case FORGET -> forget(frame.rank());
                    case REFUSED -> end(new String(frame.content(), StandardCharsets.UTF_8));
                    default -> throw new StrangerException("it sent " + frame.kind());
                }
            }
            if (frame.kind() == Kind.REFUSED) {
                return;
            }
        }
    }

    private boolean isWorthAnother(IOException e) {
        LOG.debug("rank {} has no connection to rank 0 {}", rank, this, e);
        synchronized (lock) {
            link = null;
            if (hasLeft() || gone().containsKey(0)) {
                return false;
            }
            if (isComplete()) {
                addGone(0, new Departure(true, "is lost: its connection broke (" + e.getMessage() + ")"));
                return false;
            }
            problem = e instanceof UnknownHostException ? "the host is not known" : String.valueOf(e.getMessage());
            for (int other = 0; other < size; other++) {
                if (other != rank) {
                    forget(other);
                }
            }
            return true;
        }
    }

    @Override
    String missing(long key) {
        synchronized (lock) {
            return link == null ? "rank 0" : super.missing(key);
        }
    }

    @Override
    String trouble() {
        synchronized (lock) {
            return link == null && gone().isEmpty() ? ": " + problem : "";
        }
    }

    @Override
    void publish(long key, byte[] value) {
        if (link != null) {
            link.send(new Frame(Kind.VALUE, rank, key, value));
        }
    }

    @Override
    void publishDeparture(Departure how) {
        if (link != null) {
            link.send(gone(rank, how));
            link.finish();
        }
    }

    @Override
    void release() {
        Socket last;
        boolean connected;
        synchronized (lock) {
            last = socket;
            connected = link != null;
        }
        if (connected) {
            // Rank 0 closes the connection when it has read all.
            join(thread, System.nanoTime() + LEAVE_NANOS);
        }
        TcpRoot.close(last);
    }
}
