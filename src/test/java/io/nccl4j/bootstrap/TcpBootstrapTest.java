package io.nccl4j.bootstrap;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static io.nccl4j.checks.Refusals.assertThrown;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.bootstrap.Frame.Kind;
import io.nccl4j.nccl.Bootstrap;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(90)
class TcpBootstrapTest {
    private static final Duration LIMIT = Duration.ofSeconds(20);
    /** Enough on a busy machine for the ranks that do come. */
    private static final Duration BRIEF = Duration.ofSeconds(8);
    private static final BootstrapOptions OPTIONS = Ranks.options(LIMIT);
    private static final BootstrapOptions SHORT = Ranks.options(BRIEF);

    private int port;

    @BeforeEach
    void findPort() throws Exception {
        port = Ranks.freePort();
    }

    private Bootstrap tcp(int rank, int size, BootstrapOptions options) {
        return Bootstraps.tcp("localhost", port, rank, size, options);
    }

    @Test
    void theNumberOnAMachineMayBeGiven() throws Exception {
        assertThat(Ranks.outcomes(2, rank -> tcp(rank, 2, BootstrapOptions.defaults().limit(LIMIT).localRank(7)),
                Bootstrap::localRank)).containsExactly(7, 7);
    }

    @Test
    void largePartsFitThrough() throws Exception {
        List<Object> outcomes = Ranks.outcomes(3, rank -> tcp(rank, 3, OPTIONS), bootstrap -> {
            byte[] mine = new byte[1 << 20];
            new Random(bootstrap.rank()).nextBytes(mine);
            byte[][] all = bootstrap.allGather(mine);
            boolean right = true;
            for (int rank = 0; rank < 3; rank++) {
                byte[] expected = new byte[1 << 20];
                new Random(rank).nextBytes(expected);
                right &= java.util.Arrays.equals(expected, all[rank]);
            }
            return right;
        });
        assertThat(outcomes).containsOnly(true);
    }

    @Test
    void oneRankNeedsNoNetwork() {
        try (Bootstrap bootstrap = Bootstraps.tcp("no.such.host.invalid", 1, 0, 1, OPTIONS)) {
            assertThat(bootstrap.allGather(new byte[]{1})).isDeepEqualTo(new byte[][]{{1}});
        }
    }

    @Test
    void rank0MayComeLast() throws Exception {
        CountDownLatch refused = new CountDownLatch(1);
        List<Object> outcomes = Ranks.outcomes(3, rank -> {
            if (rank == 0) {
                refused.await();
            } else if (rank == 1) {
                // Nobody listens yet, so this rank has been refused by now.
                assertThatThrownBy(() -> new Socket(InetAddress.getLoopbackAddress(), port).close());
                refused.countDown();
            }
            try (Bootstrap bootstrap = tcp(rank, 3, OPTIONS)) {
                return Ranks.gathersRightly(bootstrap, 3);
            }
        });
        assertThat(outcomes).containsOnly(true);
    }

    @Test
    void aMissingRank0IsNamed() throws Exception {
        assertFailure(WaitTimeoutException.class, () -> tcp(1, 2, SHORT),
                "rank 0 did not come within 8000 ms (rank 1 of 2 at localhost:" + port, "Connection refused");
    }

    @Test
    void afterAFailureNothingGoesOn() throws Exception {
        List<Object> outcomes = Ranks.outcomes(2, rank -> {
            try (Bootstrap bootstrap = tcp(rank, 2, OPTIONS)) {
                if (rank == 1) {
                    return "left";
                }
                assertThatThrownBy(bootstrap::barrier).hasMessageContaining("rank 1 has left");
                return bootstrap.allGather(new byte[0]);
            }
        });
        assertThrown(IllegalStateException.class, outcomes.get(0), "has failed before: rank 1 has left");
    }

    @Test
    void whoDoesNotKnowTheSecretIsTurnedAway() throws Exception {
        List<Object> outcomes = Ranks.outcomes(3,
                rank -> tcp(rank, 3, Ranks.options(BRIEF, rank == 2 ? "another" : "the secret")));
        assertThrown(IllegalStateException.class, outcomes.get(2), "rank 2 was turned away at localhost:" + port,
                "another secret or is of another job");
        assertThat((Throwable) outcomes.get(0)).hasMessageContaining("rank 2 did not come")
                .hasMessageContaining("a connection was turned away from");
    }

    @Test
    void ranksOfAnotherJobAreTurnedAway() throws Exception {
        List<Object> outcomes = Ranks.outcomes(2,
                rank -> tcp(rank, 2, BootstrapOptions.defaults().limit(BRIEF).job("job " + rank)));
        assertThrown(IllegalStateException.class, outcomes.get(1), "of another job");
        assertThrown(WaitTimeoutException.class, outcomes.get(0), "rank 1 did not come");
    }

    @Test
    void aRankThatWasStartedAgainTakesItsPlace() throws Exception {
        CountDownLatch replaced = new CountDownLatch(1);
        List<Object> outcomes = Ranks.outcomes(3, rank -> {
            if (rank == 1) {
                joinAsRank1().socket().close();
                TcpLink second = joinAsRank1();
                replaced.countDown();
                return second.receive().rank();
            }
            if (rank == 2) {
                replaced.await();
            }
            try (Bootstrap bootstrap = tcp(rank, 3, OPTIONS)) {
                return bootstrap.size();
            }
        });
        assertThat(outcomes).containsExactly(3, 2, 3);
    }

    /** Comes so far that rank 0 counts on it, and has sent it its own value. */
    private TcpLink joinAsRank1() throws Exception {
        Socket socket = connect();
        TcpLink link = new TcpLink(socket, OPTIONS.checked().key(), false);
        link.introduce(1, 3);
        link.send(new Frame(Kind.JOIN, 1));
        link.send(new Frame(Kind.VALUE, 1, 0, new byte[]{1}));
        link.startWriter();
        socket.setSoTimeout((int) LIMIT.toMillis());
        assertThat(link.receive()).extracting(Frame::kind, Frame::rank).containsExactly(Kind.VALUE, 0);
        return link;
    }

    private Socket connect() throws Exception {
        long deadline = System.nanoTime() + LIMIT.toNanos();
        while (true) {
            try {
                return new Socket(InetAddress.getLoopbackAddress(), port);
            } catch (java.net.ConnectException e) {
                // Rank 0 does not listen yet.
                if (System.nanoTime() - deadline >= 0) {
                    throw e;
                }
                Thread.sleep(5);
            }
        }
    }

    @Test
    void ranksThatCountDifferentlyAreTurnedAway() throws Exception {
        List<Object> outcomes = Ranks.outcomes(2, rank -> tcp(rank, rank == 0 ? 2 : 3, SHORT));
        assertThrown(IllegalStateException.class, outcomes.get(1), "it says that there are 3 ranks, rank 0 says 2");
    }

    @Test
    void strangersDoNotDisturb() throws Exception {
        Random random = new Random(20);
        List<Socket> strangers = new ArrayList<>();
        List<Object> outcomes = Ranks.outcomes(3, rank -> {
            if (rank == 2) {
                for (int i = 0; i < 20; i++) {
                    strangers.add(stranger(i, random));
                }
            }
            try (Bootstrap bootstrap = tcp(rank, 3, Ranks.options(LIMIT, "s"))) {
                return Ranks.gathersRightly(bootstrap, 5);
            }
        });
        for (Socket stranger : strangers) {
            stranger.close();
        }
        assertThat(outcomes).containsOnly(true);
    }

    /** Some say nothing, some say nonsense, some stop in the middle, some claim to be a rank. */
    private Socket stranger(int kind, Random random) throws Exception {
        Socket socket = connect();
        OutputStream out = socket.getOutputStream();
        switch (kind % 5) {
            case 0 -> out.flush();
            case 1 -> {
                byte[] noise = new byte[random.nextInt(5000)];
                random.nextBytes(noise);
                out.write(noise);
            }
            case 2 -> out.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
            case 3 -> {
                out.write("n4j2".getBytes(StandardCharsets.US_ASCII));
                socket.shutdownOutput();
            }
            default -> {
                out.write(ByteBuffer.allocate(21).put("n4j2".getBytes(StandardCharsets.US_ASCII)).putInt(5, 1)
                        .putLong(9, 3).putInt(17, 16).array());
                out.write(new byte[48]);
            }
        }
        return socket;
    }

    @Test
    void whatIsNotRank0IsRecognised() throws Exception {
        try (ServerSocket web = new ServerSocket(port, 8, InetAddress.getLoopbackAddress())) {
            Thread server = Thread.ofPlatform().daemon().start(() -> {
                try (Socket socket = web.accept(); InputStream in = socket.getInputStream()) {
                    in.readNBytes(21);
                    socket.getOutputStream()
                            .write("HTTP/1.1 400 Bad Request\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
                } catch (java.io.IOException e) {
                    throw new java.io.UncheckedIOException(e);
                }
            });
            assertIllegalState(() -> tcp(1, 2, OPTIONS),
                    "what listens there does not speak the language of this version of nccl4j");
            server.join();
        }
    }

    @Test
    void aListenerThatSaysNothingIsNamedAfterTheLimit() throws Exception {
        try (ServerSocket silent = new ServerSocket(port, 8, InetAddress.getLoopbackAddress())) {
            assertThat(silent.isBound()).isTrue();
            // Shorter than the first connection waits for an answer.
            assertFailure(WaitTimeoutException.class, () -> tcp(1, 2, Ranks.options(Duration.ofSeconds(2))),
                    "rank 0 did not come", "nothing answers there");
        }
    }

    @Test
    void aPortInUseIsReported() throws Exception {
        try (ServerSocket other = new ServerSocket(port, 8, InetAddress.getLoopbackAddress())) {
            assertThat(other.isBound()).isTrue();
            assertIllegalState(() -> tcp(0, 2, OPTIONS), "rank 0 cannot listen at localhost:" + port,
                    "is another job there?");
        }
    }

    @Test
    void otherMachinesNeedASecret() {
        for (int rank = 0; rank < 2; rank++) {
            int self = rank;
            assertIllegalState(() -> Bootstraps.tcp("192.0.2.1", port, self, 2, SHORT),
                    "need a secret: set NCCL4J_BOOTSTRAP_SECRET");
        }
    }

    @Test
    void argumentsAreChecked() {
        assertIllegalArgument(() -> tcp(2, 2, OPTIONS), "rank 2 of 2");
        assertIllegalArgument(() -> Bootstraps.tcp("localhost", 0, 0, 2, OPTIONS), "port is 0");
        assertIllegalArgument(() -> Bootstraps.tcp("no.such.host.invalid", 99, 0, 2, OPTIONS), "no.such.host.invalid");
    }
}
