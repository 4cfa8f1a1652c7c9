package io.nccl4j.bootstrap;

import io.nccl4j.bootstrap.Frame.Kind;
import io.nccl4j.bootstrap.TcpLink.StrangerException;
import io.nccl4j.internal.Deadline;
import io.nccl4j.nccl.Departure;
import java.io.IOException;
import java.net.BindException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Rank 0's end, which passes on what comes to all others. It listens as long as it lives, so that a second process of a
 * rank is told at once. Each connection is heard on a thread of its own; a stranger who says nothing holds nobody up.
 */
final class TcpRoot extends Store {
    private static final Logger LOG = LoggerFactory.getLogger(TcpRoot.class);
    private static final int BACKLOG = 1024;
    /** For the first bytes, which a rank sends at once. */
    private static final int HELLO_MILLIS = 2_000;
    private static final int JOIN_MILLIS = 10_000;
    private static final long RETRY_NANOS = 20_000_000;
    private static final Duration BIND = Duration.ofSeconds(1);

    private final MeetingPlace place;
    private final InetSocketAddress address;
    private final ServerSocket listener;
    private final HalfOpenSockets halfOpen = new HalfOpenSockets();
    private final Map<Thread, Socket> readers = new ConcurrentHashMap<>();
    private final Thread acceptor;
    /** By rank; guarded by the lock. */
    private final @Nullable TcpLink[] links;
    private volatile @Nullable String turnedAway;

    private TcpRoot(MeetingPlace place, int size) throws IOException {
        super(0, size, new Object());
        this.place = place;
        this.address = place.listeningAddress();
        this.listener = new ServerSocket();
        this.links = new TcpLink[size];
        this.acceptor = Thread.ofPlatform().daemon().name("nccl4j bootstrap 0").unstarted(this::accept);
    }

    static TcpRoot listen(MeetingPlace place, int size) {
        try {
            TcpRoot root = new TcpRoot(place, size);
            root.acceptor.start();
            return root;
        } catch (IOException e) {
            throw new IllegalStateException("rank 0 cannot listen " + place + ": " + e.getMessage(), e);
        }
    }

    private void accept() {
        try {
            bind();
            place.announce(listener.getLocalPort());
            while (!listener.isClosed()) {
                acceptOne();
            }
            place.withdraw();
        } catch (IOException | IllegalStateException e) {
            synchronized (lock) {
                end(e instanceof IllegalStateException
                        ? e.getMessage()
                        : "rank 0 cannot listen " + place + ": " + e.getMessage()
                                + (e instanceof BindException ? "; is another job there?" : ""));
            }
        }
    }

    /** Tries for a while: a rank that came too early may have met itself here, see {@link TcpPeer}. */
    private void bind() throws IOException {
        Deadline deadline = Deadline.after(BIND);
        while (!listener.isBound()) {
            try {
                listener.bind(address, BACKLOG);
            } catch (BindException e) {
                if (deadline.isOver()) {
                    throw e;
                }
                LockSupport.parkNanos(RETRY_NANOS);
            }
        }
    }

    private void acceptOne() {
        try {
            Socket socket = listener.accept();
            halfOpen.add(socket);
            Thread.ofPlatform().daemon().name("nccl4j bootstrap reader").start(() -> hear(socket));
        } catch (IOException e) {
            // Too many open files, say, which passes.
            LOG.debug("rank 0 could not accept a connection", e);
            LockSupport.parkNanos(RETRY_NANOS);
        }
    }

    private void hear(Socket socket) {
        Thread self = Thread.currentThread();
        try (socket) {
            socket.setSoTimeout(HELLO_MILLIS);
            TcpLink link = new TcpLink(socket, place.key(), true);
            Frame hello = link.receiveHello();
            halfOpen.introduced(socket);
            socket.setSoTimeout(JOIN_MILLIS);
            link.challenge(hello);
            link.receive(0, Kind.JOIN);
            halfOpen.remove(socket);
            readers.put(self, socket);
            socket.setSoTimeout(0);
            String refusal = admit(link, hello);
            if (refusal == null) {
                serve(link, hello.rank());
            } else {
                turnedAway = socket.getRemoteSocketAddress() + ": rank " + hello.rank() + " was refused, " + refusal;
                LOG.warn("bootstrap turned a connection away from {}", turnedAway);
                link.refuse("rank 0 refuses rank " + hello.rank() + ": " + refusal);
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
            if (gone().containsKey(rank)) {
                return "rank " + rank + " has been here and " + gone().get(rank).how();
            }
            for (int other = 0; other < size; other++) {
                valuesOf(other).forEach(link::send);
            }
            gone().forEach((other, how) -> link.send(Frame.gone(other, how)));
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
                Frame frame = link.receive();
                if (frame.kind() == Kind.GONE) {
                    how = frame.departure();
                } else {
                    pass(frame, rank);
                }
            }
        } catch (IOException e) {
            how = TcpLink.lost(e);
        }
        synchronized (lock) {
            links[rank] = null;
            link.finish();
            depart(rank, how);
        }
    }

    private void pass(Frame frame, int rank) throws StrangerException {
        synchronized (lock) {
            Frame value = new Frame(frame.kind(), rank, frame.key(), frame.content());
            if (frame.kind() != Kind.VALUE || !receive(value)) {
                throw new StrangerException("it sent " + frame.kind() + " " + frame.key() + " out of turn");
            }
            publish(value);
        }
    }

    /** Who is lost before all were there may be started again. */
    private void depart(int rank, Departure how) {
        Frame frame = isComplete() || !how.lost() ? Frame.gone(rank, how) : new Frame(Kind.FORGET, rank);
        receive(frame);
        publish(frame);
    }

    /** Sends to all ranks but the one that it is about. */
    @Override
    void publish(Frame frame) {
        for (int other = 1; other < size; other++) {
            TcpLink link = links[other];
            if (link != null && other != frame.rank()) {
                link.send(frame);
            }
        }
    }

    @Override
    String trouble() {
        synchronized (lock) {
            return turnedAway == null || isComplete() ? "" : "; a connection was turned away from " + turnedAway;
        }
    }

    /** Gives the port back, and waits a while until the ranks have read what was sent. */
    @Override
    void release() {
        TcpLink.close(listener);
        halfOpen.closeAll();
        synchronized (lock) {
            Stream.of(links).filter(Objects::nonNull).forEach(TcpLink::finish);
        }
        Deadline deadline = Deadline.after(LEAVE);
        join(acceptor, deadline);
        List.copyOf(readers.keySet()).forEach(reader -> join(reader, deadline));
        readers.values().forEach(TcpLink::close);
    }

    @Override
    public String toString() {
        return place.toString();
    }
}
