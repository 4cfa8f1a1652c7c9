package io.nccl4j.bootstrap;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.bootstrap.Frame.Kind;
import io.nccl4j.bootstrap.TcpLink.StrangerException;
import io.nccl4j.checks.Condition;
import io.nccl4j.nccl.Bootstrap;
import java.io.FilterOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Connections that do not belong to the job, or not any more, on the loopback. */
@Timeout(90)
class TcpStrangersTest {
    private static final BootstrapOptions OPTIONS = Ranks.options(Duration.ofSeconds(15));
    private static final int SILENT = 600;

    private int port;

    @BeforeEach
    void findPort() throws Exception {
        port = Ranks.freePort();
    }

    /** Connections that say nothing, and are made anew when they are cut. */
    private static final class SilentConnections implements AutoCloseable {
        private final InetSocketAddress address;
        private final Selector selector = Selector.open();
        private final CountDownLatch connected = new CountDownLatch(SILENT);
        private final Thread thread = Thread.ofPlatform().daemon().unstarted(this::run);
        private volatile boolean over;

        SilentConnections(int port) throws IOException {
            address = new InetSocketAddress(InetAddress.getLoopbackAddress(), port);
            for (int i = 0; i < SILENT; i++) {
                open();
            }
            thread.start();
        }

        private void open() throws IOException {
            SocketChannel channel = SocketChannel.open();
            channel.configureBlocking(false);
            channel.register(selector, SelectionKey.OP_CONNECT);
            channel.connect(address);
        }

        private void run() {
            ByteBuffer nothing = ByteBuffer.allocate(64);
            while (!over) {
                try {
                    selector.select(key -> look(key, nothing.clear()));
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            }
        }

        private void look(SelectionKey key, ByteBuffer nothing) {
            SocketChannel channel = (SocketChannel) key.channel();
            boolean cut;
            try {
                if (key.isConnectable() && channel.finishConnect()) {
                    connected.countDown();
                    key.interestOps(SelectionKey.OP_READ);
                }
                cut = key.isReadable() && channel.read(nothing) < 0;
            } catch (IOException e) {
                cut = true;
            }
            if (cut) {
                try {
                    channel.close();
                    open();
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            }
        }

        @Override
        public void close() throws Exception {
            over = true;
            selector.wakeup();
            thread.join();
            for (SelectionKey key : selector.keys()) {
                key.channel().close();
            }
            selector.close();
        }
    }

    @Test
    void h6SilentConnectionsDoNotKeepRanksOut() throws Exception {
        CountDownLatch flooded = new CountDownLatch(1);
        List<Object> outcomes = Ranks.outcomes(4, rank -> {
            if (rank == 3) {
                try (SilentConnections silent = new SilentConnections(port)) {
                    silent.connected.await();
                    flooded.countDown();
                    // Rank 0 waits for two that come now.
                    List<Object> both = Ranks.outcomes(2, other -> meet(other + 1));
                    return both.equals(List.of(true, true));
                }
            }
            return rank == 0 ? meet(0) : "comes later";
        });
        assertThat(flooded.getCount()).isZero();
        assertThat(outcomes.getFirst()).isEqualTo(true);
        assertThat(outcomes.get(3)).isEqualTo(true);
    }

    private boolean meet(int rank) {
        try (Bootstrap bootstrap = Bootstraps.tcp("localhost", port, rank, 3, OPTIONS)) {
            return Ranks.gathersRightly(bootstrap, 3);
        }
    }

    @Test
    void h6TheOldestSilentConnectionGoesFirst() throws Exception {
        HalfOpenSockets halfOpen = new HalfOpenSockets();
        List<Socket> accepted = new ArrayList<>();
        List<Socket> strangers = new ArrayList<>();
        try (ServerSocket server = new ServerSocket(0, 8, InetAddress.getLoopbackAddress())) {
            for (int i = 0; i < 140; i++) {
                strangers.add(new Socket(server.getInetAddress(), server.getLocalPort()));
                accepted.add(server.accept());
                halfOpen.add(accepted.get(i));
                if (i == 0) {
                    halfOpen.introduced(accepted.getFirst());
                }
            }
            // 128 of one address: the first has introduced itself, the next twelve have not.
            for (int i = 0; i < accepted.size(); i++) {
                assertThat(accepted.get(i).isClosed()).as("connection %d is closed", i).isEqualTo(i >= 1 && i <= 12);
            }
        } finally {
            halfOpen.closeAll();
            for (Socket stranger : strangers) {
                stranger.close();
            }
        }
        assertThat(accepted).allMatch(Socket::isClosed);
    }

    @Test
    void h14ALateSecondProcessIsToldAtOnceAndLeaksNothing() throws Exception {
        BootstrapOptions patient = Ranks.options(Duration.ofMinutes(10));
        CountDownLatch met = new CountDownLatch(2);
        CountDownLatch over = new CountDownLatch(1);
        List<Object> outcomes = Ranks.outcomes(3, rank -> {
            if (rank == 2) {
                met.await();
                try {
                    return refuseManyTimes(patient);
                } finally {
                    over.countDown();
                }
            }
            try (Bootstrap bootstrap = Bootstraps.tcp("localhost", port, rank, 2, OPTIONS)) {
                met.countDown();
                over.await();
                return Ranks.gathersRightly(bootstrap, 2);
            }
        });
        assertThat(outcomes).containsExactly(true, true, "refused");
    }

    private String refuseManyTimes(BootstrapOptions options) throws Exception {
        refuse(options);
        long before = descriptors();
        for (int i = 0; i < 30; i++) {
            refuse(options);
        }
        // Rank 0 closes its ends a moment later.
        Condition.await("closed descriptors", () -> descriptors() <= before + 10);
        return "refused";
    }

    private void refuse(BootstrapOptions options) {
        assertIllegalState(() -> Bootstraps.tcp("localhost", port, 1, 2, options),
                "rank 0 refuses rank 1: rank 1 is here already, from ");
    }

    private static int descriptors() {
        return Path.of("/proc/self/fd").toFile().list().length;
    }

    /** A rank's end of a connection on which something happens to what it writes; and rank 0's end. */
    private record Pair(Socket rank, Socket root) implements AutoCloseable {
        static Pair open(UnaryOperator<byte[]> change) throws IOException {
            try (ServerSocket server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
                Socket rank = new Socket(server.getInetAddress(), server.getLocalPort()) {
                    @Override
                    public OutputStream getOutputStream() throws IOException {
                        return new FilterOutputStream(super.getOutputStream()) {
                            @Override
                            public void write(byte[] bytes, int offset, int length) throws IOException {
                                byte[] part = new byte[length];
                                System.arraycopy(bytes, offset, part, 0, length);
                                out.write(change.apply(part));
                            }
                        };
                    }
                };
                return new Pair(rank, server.accept());
            }
        }

        /** Introduces the rank, sends two values, and gives back what rank 0 receives. */
        List<Frame> receiveTwo() throws Exception {
            Secret job = Secret.of("s", "");
            TcpLink peer = new TcpLink(rank, job, false);
            TcpLink zero = new TcpLink(root, job, true);
            root.setSoTimeout(20_000);
            Thread introduction = Thread.ofPlatform().start(() -> {
                try {
                    peer.introduce(1, 2);
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            });
            zero.challenge(zero.receive(Secret.NONCE_BYTES, Kind.HELLO));
            introduction.join();
            peer.startWriter();
            peer.send(new Frame(Kind.JOIN, 1));
            zero.receive(0, Kind.JOIN);
            peer.send(new Frame(Kind.VALUE, 1, 7, new byte[]{1, 2, 3}));
            List<Frame> frames = new ArrayList<>();
            frames.add(zero.receive());
            peer.send(new Frame(Kind.VALUE, 1, 8, new byte[]{4}));
            frames.add(zero.receive());
            peer.finish();
            return frames;
        }

        @Override
        public void close() throws IOException {
            rank.close();
            root.close();
        }
    }

    @Test
    void h15FramesThatNobodyTouchesArrive() throws Exception {
        try (Pair pair = Pair.open(bytes -> bytes)) {
            assertThat(pair.receiveTwo()).extracting(Frame::key).containsExactly(7L, 8L);
        }
    }

    @Test
    void h15AFrameThatIsChangedAfterTheHandshakeIsRefused() throws Exception {
        try (Pair pair = Pair.open(bytes -> {
            if (bytes.length == 21 + 3 + 32) {
                bytes[21] ^= 1;
            }
            return bytes;
        })) {
            assertFailure(StrangerException.class, pair::receiveTwo);
        }
    }

    @Test
    void h15AFrameThatIsRepeatedIsRefused() throws Exception {
        try (Pair pair = Pair.open(bytes -> bytes.length == 21 + 3 + 32
                ? ByteBuffer.allocate(2 * bytes.length).put(bytes).put(bytes).array()
                : bytes)) {
            assertFailure(StrangerException.class, pair::receiveTwo);
        }
    }
}
