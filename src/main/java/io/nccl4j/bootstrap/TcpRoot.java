package io.nccl4j.bootstrap;

import io.nccl4j.bootstrap.TcpLink.Frame;
import io.nccl4j.bootstrap.TcpLink.Kind;
import io.nccl4j.bootstrap.TcpLink.StrangerException;
import io.nccl4j.nccl.Departure;
import java.io.Closeable;
import java.io.IOException;
import java.net.BindException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.NetworkInterface;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.net.UnknownHostException;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Rank 0's end. It listens as long as it lives, so that a second process of a rank is told at once. Each connection is
 * heard on a thread of its own; a stranger who says nothing holds nobody up.
 */
final class TcpRoot extends TcpStore {
    private static final Logger LOG = LoggerFactory.getLogger(TcpRoot.class);
    private static final long BIND_NANOS = TimeUnit.SECONDS.toNanos(1);
    private static final int RETRY_MILLIS = 20;
    private static final int BACKLOG = 1024;
    /** For the first bytes, which a rank sends at once. */
    private static final int HELLO_MILLIS = 2_000;
    private static final int JOIN_MILLIS = 10_000;

    private final InetSocketAddress address;
    private final ServerSocket listener;
    private final HalfOpenSockets halfOpen = new HalfOpenSockets();
    private final Map<Thread, Socket> readers = new ConcurrentHashMap<>();
    /** By rank; guarded by the lock. */
    private final @Nullable TcpLink[] links;
    private volatile @Nullable String turnedAway;

    private TcpRoot(String host, int port, int size, BootstrapOptions options) throws IOException {
        super(host, port, 0, size, options);
        this.links = new TcpLink[size];
        this.address = new InetSocketAddress(listeningAddress(), port);
        this.listener = new ServerSocket();
    }

    static TcpRoot listen(String host, int port, int size, BootstrapOptions options) {
        try {
            TcpRoot root = new TcpRoot(host, port, size, options);
            Thread.ofPlatform().daemon().name("nccl4j bootstrap 0").start(root::accept);
            return root;
        } catch (IOException e) {
            throw new IllegalStateException("rank 0 cannot listen at " + host + ":" + port + ": " + e.getMessage(), e);
        }
    }

    /** The address of this machine that the host names; a name that leads elsewhere (a service, say) means all. */
    private @Nullable InetAddress listeningAddress() {
        InetAddress named;
        try {
            named = InetAddress.getByName(host);
        } catch (UnknownHostException e) {
            throw new IllegalArgumentException(
                    "rank 0 is to listen at " + host + ", which is not known: " + e.getMessage(), e);
        }
        requireSecret(named);
        try {
            return NetworkInterface.getByInetAddress(named) == null ? null : named;
        } catch (SocketException e) {
            return null;
        }
    }

    private void accept() {
        try {
            bind();
            while (!listener.isClosed()) {
                acceptOne();
            }
        } catch (IOException e) {
            synchronized (lock) {
                end("rank 0 cannot listen at " + address + ": " + e.getMessage()
                        + (e instanceof BindException ? "; is another job there?" : ""));
            }
        } catch (InterruptedException e) {
            throw new AssertionError("nobody interrupts this thread", e);
        }
    }

    private void acceptOne() throws InterruptedException {
        try {
            Socket socket = listener.accept();
            halfOpen.add(socket);
            Thread.ofPlatform().daemon().name("nccl4j bootstrap reader").start(() -> hear(socket));
        } catch (IOException e) {
            // Too many open files, say, which passes.
            LOG.debug("rank 0 could not accept a connection", e);
            Thread.sleep(RETRY_MILLIS);
        }
    }

    /** Tries for a while: a rank that came too early may have met itself here, see {@link TcpPeer}. */
    private void bind() throws IOException, InterruptedException {
        long deadline = System.nanoTime() + BIND_NANOS;
        while (true) {
            try {
                listener.bind(address, BACKLOG);
                return;
            } catch (BindException e) {
                if (System.nanoTime() - deadline >= 0) {
                    throw e;
                }
                Thread.sleep(RETRY_MILLIS);
            }
        }
    }

    private void hear(Socket socket) {
        Thread self = Thread.currentThread();
        try (socket) {
            socket.setSoTimeout(HELLO_MILLIS);
            TcpLink link = new TcpLink(socket, job, true);
            Frame hello = receiveHello(link);
            halfOpen.introduced(socket);
            socket.setSoTimeout(JOIN_MILLIS);
            link.challenge(hello);
            link.receive(0, Kind.JOIN);
            halfOpen.remove(socket);
            readers.put(self, socket);
            String refusal = admit(link, hello);
            if (refusal != null) {
                turnedAway = socket.getRemoteSocketAddress() + ": rank " + hello.rank() + " was refused, " + refusal;
                LOG.warn("bootstrap turned a connection away from {}", turnedAway);
                refuse(link, "rank 0 refuses rank " + hello.rank() + ": " + refusal);
            } else {
                socket.setSoTimeout(0);
                serve(link, hello.rank());
            }
        } catch (IOException e) {
            turnedAway = socket.getRemoteSocketAddress() + ": " + e.getMessage();
            // Not louder: whoever can reach the port could fill the log.
            LOG.debug("bootstrap turned a connection away from {}", turnedAway);
        } finally {
            halfOpen.remove(socket);
            readers.remove(self);
        }
    }

    private static Frame receiveHello(TcpLink link) throws IOException {
        try {
            Frame hello = link.receive(Secret.NONCE_BYTES, Kind.HELLO);
            if (hello.content().length != Secret.NONCE_BYTES) {
                throw new StrangerException("it sent a nonce of " + hello.content().length + " bytes");
            }
            return hello;
        } catch (StrangerException e) {
            // What it cannot verify tells it as much.
            refuse(link, e.getMessage());
            throw e;
        }
    }

    private static void refuse(TcpLink link, String reason) {
        try {
            link.refuse(reason);
        } catch (IOException e) {
            LOG.debug("a refused connection has ended", e);
        }
    }

    /** Lets a rank in, or says why not. */
    private @Nullable String admit(TcpLink link, Frame hello) throws IOException {
        int rank = hello.rank();
        synchronized (lock) {
            if (hasLeft()) {
                // The next job may meet here, so it may try again.
                throw new IOException("rank 0 waits no longer");
            }
            if (hello.key() != size) {
                return "it says that there are " + hello.key() + " ranks, rank 0 says " + size;
            }
            if (rank < 1 || rank >= size) {
                return rank == 0 ? "rank 0 is here already" : "there is no such rank";
            }
            TcpLink present = links[rank];
            if (present != null) {
                return "rank " + rank + " is here already, from " + present.socket().getRemoteSocketAddress();
            }
            Departure before = gone().get(rank);
            if (before != null) {
                return "rank " + rank + " has been here and " + before.how();
            }
            for (int other = 0; other < size; other++) {
                int from = other;
                valuesOf(other).forEach((key, value) -> link.send(new Frame(Kind.VALUE, from, key, value)));
            }
            gone().forEach((other, how) -> link.send(gone(other, how)));
            links[rank] = link;
        }
        link.startWriter();
        return null;
    }

    /** Passes on what a rank sends until it goes. */
    private void serve(TcpLink link, int rank) {
        Departure how = null;
        try {
            while (how == null) {
                Frame frame = link.receive(LONGEST_FRAME);
                if (frame.kind() == Kind.GONE) {
                    how = departure(frame);
                } else {
                    pass(frame, rank);
                }
            }
        } catch (IOException e) {
            how = new Departure(true, "is lost: its connection broke (" + e.getMessage() + ")");
        }
        depart(rank, how);
    }

    private void pass(Frame frame, int rank) throws StrangerException {
        synchronized (lock) {
            if (frame.kind() != Kind.VALUE || !add(rank, frame.key(), frame.content())) {
                throw new StrangerException("it sent " + frame.kind() + " " + frame.key() + " out of turn");
            }
            send(new Frame(Kind.VALUE, rank, frame.key(), frame.content()), rank);
        }
    }

    private void depart(int rank, Departure how) {
        synchronized (lock) {
            TcpLink link = links[rank];
            links[rank] = null;
            if (link != null) {
                link.finish();
            }
            if (hasLeft()) {
                return;
            }
            // Who is lost before all were there may be started again.
            if (isComplete() || !how.lost()) {
                addGone(rank, how);
                send(gone(rank, how), rank);
            } else {
                forget(rank);
                send(new Frame(Kind.FORGET, rank), rank);
            }
        }
    }

    /** Sends to all ranks but the one that it comes from. */
    private void send(Frame frame, int from) {
        for (int other = 1; other < size; other++) {
            TcpLink link = links[other];
            if (link != null && other != from) {
                link.send(frame);
            }
        }
    }

    @Override
    void publish(long key, byte[] value) {
        send(new Frame(Kind.VALUE, 0, key, value), 0);
    }

    @Override
    void publishDeparture(Departure how) {
        send(gone(0, how), 0);
        for (TcpLink link : links) {
            if (link != null) {
                link.finish();
            }
        }
    }

    @Override
    String trouble() {
        String last = turnedAway;
        return last == null || isMet() ? "" : "; a connection was turned away from " + last;
    }

    private boolean isMet() {
        synchronized (lock) {
            return isComplete();
        }
    }

    /** Gives the port back, and waits a while until the ranks have read what was sent. */
    @Override
    void release() {
        close(listener);
        halfOpen.closeAll();
        long deadline = System.nanoTime() + LEAVE_NANOS;
        List.copyOf(readers.keySet()).forEach(reader -> join(reader, deadline));
        readers.values().forEach(TcpRoot::close);
    }

    static void close(@Nullable Closeable closeable) {
        try {
            if (closeable != null) {
                closeable.close();
            }
        } catch (IOException e) {
            LOG.debug("close failed", e);
        }
    }
}
