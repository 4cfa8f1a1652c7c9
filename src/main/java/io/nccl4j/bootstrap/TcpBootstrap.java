package io.nccl4j.bootstrap;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.bootstrap.TcpHandshake.StrangerException;
import io.nccl4j.internal.TimeLimit;
import java.io.EOFException;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.net.BindException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.NetworkInterface;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** Ranks that are connected to rank 0, which collects and distributes. */
final class TcpBootstrap extends HostExchange {
    private static final long HANDSHAKE_SECONDS = 10;
    private static final long LONGEST_PAUSE_MILLIS = 250;
    /** Rank 0 speaks up twice a second; so long after the limit its last word is waited for. */
    private static final long LAST_WORD_NANOS = TimeUnit.SECONDS.toNanos(1);

    private final int localRank;
    private final @Nullable TcpRoot root;
    private final @Nullable PeerChannel connection;

    private TcpBootstrap(int rank, int size, int localRank, BootstrapOptions options, @Nullable TcpRoot root,
            @Nullable PeerChannel connection) {
        super(rank, size, options.limit());
        this.localRank = options.localRank() == null ? localRank : options.localRank();
        this.root = root;
        this.connection = connection;
    }

    static TcpBootstrap connect(String host, int port, int rank, int size, BootstrapOptions options) {
        checkRank(rank, size);
        if (port < 1 || port > 65535) {
            throw new IllegalArgumentException("port is " + port + ": must be 1 to 65535");
        }
        if (size == 1) {
            return new TcpBootstrap(0, 1, 0, options, null, null);
        }
        Secret secret = Secret.of(options.secret(), options.job());
        return rank == 0 ? receive(host, port, size, options, secret) : join(host, port, rank, size, options, secret);
    }

    private static TcpBootstrap receive(String host, int port, int size, BootstrapOptions options, Secret secret) {
        InetSocketAddress place = new InetSocketAddress(listeningAddress(host, options), port);
        try (TcpReception reception = new TcpReception(place, size, secret)) {
            return new TcpBootstrap(0, size, 0, options, new TcpRoot(reception.awaitAll(options.limit())), null);
        } catch (BindException e) {
            throw new IllegalStateException("rank 0 cannot listen at " + place + ": " + e.getMessage()
                    + "; is another job there?", e);
        } catch (IOException e) {
            throw new IllegalStateException("rank 0 cannot listen at " + place + ": " + e.getMessage(), e);
        }
    }

    /**
     * The address of this machine that {@code host} names; a name that leads elsewhere (a service, say) means all
     * addresses.
     */
    private static @Nullable InetAddress listeningAddress(String host, BootstrapOptions options) {
        InetAddress address;
        try {
            address = InetAddress.getByName(host);
        } catch (UnknownHostException e) {
            throw new IllegalArgumentException(
                    "rank 0 is to listen at " + host + ", which is not known: " + e.getMessage(), e);
        }
        requireSecret(address, options);
        try {
            return NetworkInterface.getByInetAddress(address) == null ? null : address;
        } catch (SocketException e) {
            return null;
        }
    }

    private static void requireSecret(InetAddress address, BootstrapOptions options) {
        if (!address.isLoopbackAddress() && options.secret() == null) {
            throw new IllegalStateException("ranks that meet at " + address
                    + " can be reached from other machines and need a "
                    + "secret: set NCCL4J_BOOTSTRAP_SECRET (or -Dnccl4j.bootstrap.secret) to one text for all ranks");
        }
    }

    private static TcpBootstrap join(String host, int port, int rank, int size, BootstrapOptions options,
            Secret secret) {
        long deadline = System.nanoTime() + TimeLimit.nanos(options.limit());
        String problem = "";
        for (long pause = 10;; pause = Math.min(pause * 2, LONGEST_PAUSE_MILLIS)) {
            PeerChannel channel = null;
            try {
                // Resolved anew each time: names of containers come and go.
                InetAddress address = InetAddress.getByName(host);
                requireSecret(address, options);
                channel = PeerChannel.connect(new InetSocketAddress(address, port), deadline);
                long handshake = System.nanoTime() + TimeUnit.SECONDS.toNanos(HANDSHAKE_SECONDS);
                TcpHandshake.introduce(channel, rank, size, HostIdentity.get(), secret,
                        handshake - deadline < 0 ? handshake : deadline);
                int local = ByteBuffer.wrap(answer(channel, 0, deadline, Frame.Kind.WELCOME, rank)).getInt();
                return new TcpBootstrap(rank, size, local, options, null, channel);
            } catch (StrangerException e) {
                throw abandoned(channel,
                        new IllegalStateException("rank " + rank + " was turned away at " + host + ":" + port
                                + ": " + e.getMessage(), e));
            } catch (InterruptedIOException e) {
                if (Thread.currentThread().isInterrupted()) {
                    throw abandoned(channel, new IllegalStateException("rank " + rank + " was interrupted", e));
                }
                // An attempt that the limit has cut short says less than the one before.
                problem = problem.isEmpty() ? String.valueOf(e.getMessage()) : problem;
            } catch (IOException e) {
                problem = e instanceof UnknownHostException ? "the host is not known" : String.valueOf(e.getMessage());
            } catch (RuntimeException e) {
                throw abandoned(channel, e);
            }
            if (channel != null) {
                TcpReception.close(channel);
            }
            if (System.nanoTime() - deadline >= 0) {
                throw new WaitTimeoutException("rank 0 was not found at " + host + ":" + port + " within "
                        + TimeLimit.millis(options.limit()) + " ms (rank " + rank + " of " + size + " waits): "
                        + problem);
            }
            sleep(pause, rank);
        }
    }

    private static RuntimeException abandoned(@Nullable PeerChannel channel, RuntimeException reason) {
        if (channel != null) {
            TcpReception.close(channel);
        }
        return reason;
    }

    private static void sleep(long millis, int rank) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("rank " + rank + " was interrupted", e);
        }
    }

    @Override
    public int localRank() {
        return localRank;
    }

    @Override
    byte[][] exchange(long call, byte[] mine, long deadline) {
        if (root != null) {
            return root.exchange(call, mine, deadline, this::missing);
        }
        PeerChannel channel = connection;
        if (channel == null) {
            throw new AssertionError("one rank exchanges nothing");
        }
        try {
            channel.send(new Frame(Frame.Kind.GIVEN, call, mine), deadline);
            byte[] contents = answer(channel, call, deadline, Frame.Kind.RESULT, rank());
            byte[][] all = new Frame(Frame.Kind.RESULT, call, contents).split(size());
            if (all == null) {
                throw new IllegalStateException("rank 0 sent a result that is damaged");
            }
            return all;
        } catch (EOFException e) {
            throw new IllegalStateException("rank 0 has left", e);
        } catch (SocketTimeoutException e) {
            throw missing("rank 0");
        } catch (IOException e) {
            throw new IllegalStateException("the connection to rank 0 has failed: " + e.getMessage(), e);
        }
    }

    /** Waits for what rank 0 says, past its reports of who is missing. */
    private static byte[] answer(PeerChannel channel, long call, long deadline, Frame.Kind expected, int rank)
            throws IOException {
        String missing = null;
        while (true) {
            Frame frame;
            try {
                frame = channel.receive(missing == null ? deadline : deadline + LAST_WORD_NANOS);
            } catch (SocketTimeoutException e) {
                if (missing == null) {
                    throw e;
                }
                throw new WaitTimeoutException(
                        missing + " did not come in time, rank 0 says (rank " + rank + " waits)");
            }
            if (frame.kind() == Frame.Kind.FAILED) {
                throw new IllegalStateException(frame.text());
            }
            if (frame.kind() == Frame.Kind.WAITING) {
                missing = frame.text();
            } else if (frame.kind() != expected || frame.call() != call) {
                throw new IllegalStateException(
                        "rank 0 is out of step: it sent " + frame.kind() + " of its call " + frame.call()
                                + " in call " + call + " of rank " + rank);
            } else {
                return frame.contents();
            }
        }
    }

    @Override
    void leave() {
        if (root != null) {
            TcpReception.close(root);
        }
        if (connection != null) {
            TcpReception.close(connection);
        }
    }
}
