package io.nccl4j.bootstrap;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.bootstrap.TcpHandshake.Guest;
import io.nccl4j.internal.TimeLimit;
import java.io.Closeable;
import java.io.IOException;
import java.net.BindException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Rank 0 waits for the others. Each connection is heard on a thread of its own, so that a stranger who says nothing
 * holds nobody up; strangers are turned away and mentioned if a rank is missing in the end.
 */
final class TcpReception implements Closeable {
    private static final Logger LOG = LoggerFactory.getLogger(TcpReception.class);
    private static final long HANDSHAKE_NANOS = Duration.ofSeconds(10).toNanos();
    private static final long BIND_NANOS = Duration.ofSeconds(1).toNanos();
    private static final long PROGRESS_NANOS = Duration.ofMillis(500).toNanos();
    private static final int HANDSHAKES_AT_ONCE = 256;
    private static final int BACKLOG = 1024;

    private record Arrival(PeerChannel channel, Guest guest) {
    }

    private final ServerSocketChannel listener;
    private final Thread acceptor;
    private final int size;
    private final Secret secret;
    private final PeerChannel[] peers;
    private final String[] hosts;
    private final LinkedBlockingQueue<Arrival> arrivals = new LinkedBlockingQueue<>();
    private final Semaphore handshakes = new Semaphore(HANDSHAKES_AT_ONCE);
    private volatile @Nullable String turnedAway;

    TcpReception(InetSocketAddress address, int size, Secret secret) throws IOException {
        this.size = size;
        this.secret = secret;
        this.peers = new PeerChannel[size];
        this.hosts = new String[size];
        this.listener = ServerSocketChannel.open();
        try {
            bind(address);
        } catch (IOException e) {
            listener.close();
            throw e;
        }
        hosts[0] = HostIdentity.get();
        acceptor = Thread.ofVirtual().name("nccl4j bootstrap").start(this::listen);
    }

    /** Tries for a while: a rank that came too early may have met itself here, see {@link PeerChannel#connect}. */
    private void bind(InetSocketAddress address) throws IOException {
        Pause pause = new Pause(System.nanoTime() + BIND_NANOS);
        while (true) {
            try {
                listener.bind(address, BACKLOG);
                return;
            } catch (BindException e) {
                if (!pause.next()) {
                    throw e;
                }
            }
        }
    }

    private void listen() {
        try {
            while (true) {
                SocketChannel channel = listener.accept();
                handshakes.acquireUninterruptibly();
                Thread.ofVirtual().name("nccl4j bootstrap").start(() -> hear(channel));
            }
        } catch (IOException e) {
            LOG.debug("bootstrap listens no longer: {}", e.toString());
        }
    }

    private void hear(SocketChannel channel) {
        PeerChannel peer = null;
        try {
            peer = new PeerChannel(channel);
            arrivals.add(new Arrival(peer, TcpHandshake.receive(peer, secret, System.nanoTime() + HANDSHAKE_NANOS)));
        } catch (IOException e) {
            turnedAway = (peer == null ? "someone" : peer.remote()) + ": " + e.getMessage();
            // Not louder: whoever can reach the port could fill the log.
            LOG.debug("bootstrap turned a connection away from {}", turnedAway);
            close(peer == null ? channel : peer);
        } finally {
            handshakes.release();
        }
    }

    /** The connections to all ranks, by rank (none for rank 0 itself), once all are there and have been told so. */
    PeerChannel[] awaitAll(Duration limit) {
        long deadline = System.nanoTime() + TimeLimit.nanos(limit);
        boolean complete = false;
        try {
            while (missing()) {
                Arrival arrival = arrivals.poll(PROGRESS_NANOS, TimeUnit.NANOSECONDS);
                if (arrival != null) {
                    admit(arrival);
                } else {
                    tellProgress();
                }
                if (missing() && System.nanoTime() - deadline >= 0) {
                    throw timeout(limit);
                }
            }
            for (int rank = 1; rank < size; rank++) {
                byte[] local = ByteBuffer.allocate(4).putInt(HostIdentity.localRank(hosts, rank)).array();
                peers[rank].send(new Frame(Frame.Kind.WELCOME, 0, local), System.nanoTime() + HANDSHAKE_NANOS);
            }
            complete = true;
            return peers;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while rank 0 waited for other ranks", e);
        } catch (IOException e) {
            throw new IllegalStateException("a rank left before all were there: " + e.getMessage(), e);
        } finally {
            close(this);
            if (!complete) {
                tellFailure("rank 0 has given up: " + describeMissing() + " did not come");
            }
        }
    }

    /** The port is given back by the thread that listened there. */
    private void awaitAcceptor() {
        try {
            acceptor.join(Duration.ofSeconds(1));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private boolean missing() {
        for (int rank = 1; rank < size; rank++) {
            if (peers[rank] == null) {
                return true;
            }
        }
        return false;
    }

    private String describeMissing() {
        return RankSet.describe(size, rank -> rank > 0 && peers[rank] == null);
    }

    private WaitTimeoutException timeout(Duration limit) {
        String last = turnedAway;
        return new WaitTimeoutException(describeMissing() + " did not come within " + TimeLimit.millis(limit)
                + " ms (rank 0 of " + size + " waits)"
                + (last == null ? "" : "; a connection was turned away from " + last));
    }

    private void admit(Arrival arrival) throws IOException {
        Guest guest = arrival.guest;
        int rank = guest.rank();
        if (guest.size() != size) {
            refuse(arrival, "it says that there are " + guest.size() + " ranks, rank 0 says " + size);
        } else if (rank < 1 || rank >= size) {
            refuse(arrival, rank == 0 ? "rank 0 is here already" : "there is no such rank");
        } else if (peers[rank] != null && isAlive(peers[rank])) {
            refuse(arrival, "rank " + rank + " is here already, from " + peers[rank].remote());
        } else {
            if (peers[rank] != null) {
                close(peers[rank]);
            }
            peers[rank] = arrival.channel;
            hosts[rank] = guest.host();
            LOG.debug("bootstrap: rank {} is here, from {}", rank, arrival.channel.remote());
        }
    }

    private void refuse(Arrival arrival, String reason) {
        turnedAway = arrival.channel.remote() + ": rank " + arrival.guest.rank() + " was refused, " + reason;
        LOG.warn("bootstrap turned a connection away from {}", turnedAway);
        try {
            arrival.channel.send(
                    Frame.text(Frame.Kind.FAILED, 0, "rank 0 refuses rank " + arrival.guest.rank() + ": " + reason),
                    System.nanoTime() + PROGRESS_NANOS);
        } catch (IOException e) {
            LOG.debug("the refusal did not arrive", e);
        }
        close(arrival.channel);
    }

    /** A rank that was started again may take the place of its former self. */
    private static boolean isAlive(PeerChannel peer) {
        try {
            peer.poll();
            return true;
        } catch (IOException e) {
            return false;
        }
    }

    private void tellProgress() {
        Frame waiting = Frame.text(Frame.Kind.WAITING, 0, describeMissing());
        for (int rank = 1; rank < size; rank++) {
            PeerChannel peer = peers[rank];
            if (peer != null) {
                try {
                    peer.send(waiting, System.nanoTime() + PROGRESS_NANOS);
                } catch (IOException e) {
                    LOG.debug("rank {} has left", rank, e);
                    close(peer);
                    peers[rank] = null;
                }
            }
        }
    }

    private void tellFailure(String reason) {
        for (PeerChannel peer : peers) {
            if (peer != null) {
                try {
                    peer.send(Frame.text(Frame.Kind.FAILED, 0, reason), System.nanoTime() + PROGRESS_NANOS);
                } catch (IOException e) {
                    LOG.debug("a rank did not hear of the failure", e);
                }
                close(peer);
            }
        }
    }

    static void close(Closeable closeable) {
        try {
            closeable.close();
        } catch (IOException e) {
            LOG.debug("close failed", e);
        }
    }

    /** Listens no longer; connections that were not admitted end. */
    @Override
    public void close() throws IOException {
        listener.close();
        awaitAcceptor();
        for (Arrival arrival = arrivals.poll(); arrival != null; arrival = arrivals.poll()) {
            refuse(arrival, "rank 0 waits no longer");
        }
    }
}
