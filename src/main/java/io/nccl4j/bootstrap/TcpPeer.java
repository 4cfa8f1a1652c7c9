package io.nccl4j.bootstrap;

import io.nccl4j.bootstrap.Frame.Kind;
import io.nccl4j.bootstrap.TcpLink.StrangerException;
import io.nccl4j.internal.Deadline;
import java.io.IOException;
import java.net.ConnectException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.StandardSocketOptions;
import java.time.Duration;
import java.util.List;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** The end of a rank other than 0. Until all ranks are there it connects again when its connection breaks. */
final class TcpPeer extends Store {
    private static final int ANSWER_MILLIS = 5_000;
    private static final int FIRST_PAUSE_MILLIS = 5;
    private static final int LONGEST_PAUSE_MILLIS = 250;

    private final MeetingPlace place;
    private final Thread thread;
    /** Guarded by the lock, like the next one. */
    private @Nullable TcpLink link;
    private @Nullable Socket socket;
    private volatile String problem = "nothing answers there";

    private TcpPeer(MeetingPlace place, int rank, int size) {
        super(rank, size, new Object());
        this.place = place;
        this.thread = Thread.ofPlatform().daemon().name("nccl4j bootstrap " + rank).unstarted(this::run);
    }

    static TcpPeer call(MeetingPlace place, int rank, int size) {
        TcpPeer peer = new TcpPeer(place, rank, size);
        peer.thread.start();
        return peer;
    }

    /** Whether a rank 0 with this key listens there. */
    static boolean isAnswered(InetSocketAddress address, Secret key, int millis) {
        try (Socket opened = new Socket()) {
            introduce(opened, address, key, millis, 0, 0);
            return true;
        } catch (IOException e) {
            return false;
        }
    }

    private static TcpLink introduce(Socket opened, InetSocketAddress address, Secret key, int millis, int rank,
            int size) throws IOException {
        opened.connect(address, millis);
        if (opened.getLocalSocketAddress().equals(opened.getRemoteSocketAddress())) {
            // A connection to a free port of its own machine can be given that very port. Rank 0 must get it back.
            opened.setOption(StandardSocketOptions.SO_LINGER, 0);
            throw new ConnectException("nobody listens there");
        }
        opened.setSoTimeout(millis);
        TcpLink made = new TcpLink(opened, key, false);
        made.introduce(rank, size);
        opened.setSoTimeout(0);
        return made;
    }

    private void run() {
        try {
            for (int pause = FIRST_PAUSE_MILLIS; !pause(pause); pause = Math.min(pause * 2, LONGEST_PAUSE_MILLIS)) {
                for (InetSocketAddress address : find()) {
                    if (!connect(address)) {
                        return;
                    }
                }
            }
        } catch (StrangerException e) {
            fail("rank " + rank + " was turned away " + place + ": " + e.getMessage());
        } catch (IllegalStateException e) {
            fail(e.getMessage());
        }
    }

    private void fail(String reason) {
        synchronized (lock) {
            end(reason);
        }
    }

    private List<InetSocketAddress> find() {
        try {
            return place.find();
        } catch (IOException e) {
            problem = String.valueOf(e.getMessage());
            return List.of();
        }
    }

    /** One connection, from its begin to its end; whether to try again. */
    private boolean connect(InetSocketAddress address) throws StrangerException {
        try (Socket opened = new Socket()) {
            synchronized (lock) {
                socket = opened;
                if (hasLeft()) {
                    return false;
                }
            }
            TcpLink made = introduce(opened, address, place.key(), ANSWER_MILLIS, rank, size);
            try {
                receive(made);
                return false;
            } finally {
                made.finish();
            }
        } catch (IOException e) {
            return isWorthAnother(e);
        }
    }

    /** Sends what this rank has put, and receives until rank 0 has gone. */
    private void receive(TcpLink made) throws IOException {
        synchronized (lock) {
            made.send(new Frame(Kind.JOIN, rank));
            valuesOf(rank).forEach(made::send);
            link = made;
        }
        made.startWriter();
        Frame frame = made.receive();
        while (frame.kind() != Kind.REFUSED) {
            synchronized (lock) {
                receive(frame);
            }
            frame = made.receive();
        }
        fail(frame.text());
    }

    private boolean isWorthAnother(IOException e) throws StrangerException {
        synchronized (lock) {
            boolean connected = link != null;
            if (!connected && e instanceof StrangerException stranger && !place.mayChange()) {
                throw stranger;
            }
            link = null;
            if (hasLeft() || gone().containsKey(0)) {
                return false;
            }
            if (connected && isComplete()) {
                addGone(0, TcpLink.lost(e));
                return false;
            }
            problem = String.valueOf(e.getMessage());
            IntStream.range(0, size).filter(other -> other != rank).forEach(this::forget);
            return true;
        }
    }

    /** Waits; whether this rank has left. */
    private boolean pause(int millis) {
        synchronized (lock) {
            return await(this::hasLeft, Deadline.after(Duration.ofMillis(millis)));
        }
    }

    @Override
    String missing(int awaited, long key) {
        synchronized (lock) {
            return link == null ? "rank 0" : super.missing(awaited, key);
        }
    }

    @Override
    String trouble() {
        synchronized (lock) {
            return link == null && gone().isEmpty() ? ": " + problem : "";
        }
    }

    @Override
    void publish(Frame frame) {
        if (link != null) {
            link.send(frame);
        }
    }

    @Override
    void release() {
        TcpLink last;
        synchronized (lock) {
            last = link;
        }
        if (last != null) {
            last.finish();
            // Rank 0 closes the connection when it has read all.
            join(thread, Deadline.after(LEAVE));
        }
        synchronized (lock) {
            TcpLink.close(socket);
        }
    }

    @Override
    public String toString() {
        return place.toString();
    }
}
