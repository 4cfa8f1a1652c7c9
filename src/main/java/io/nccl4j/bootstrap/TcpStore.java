package io.nccl4j.bootstrap;

import io.nccl4j.bootstrap.TcpLink.Frame;
import io.nccl4j.bootstrap.TcpLink.Kind;
import io.nccl4j.nccl.Departure;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Ranks that are connected to rank 0, which passes on what comes to all others. All input and output is on threads of
 * the store, so that no interrupt breaks a connection.
 */
abstract sealed class TcpStore extends Store permits TcpRoot, TcpPeer {
    private static final int MAX_REASON_BYTES = 1 << 16;
    static final int LONGEST_FRAME = Math.max(MAX_BYTES, MAX_REASON_BYTES);

    final String host;
    final int port;
    final Secret job;
    private final boolean secretKnown;

    TcpStore(String host, int port, int rank, int size, BootstrapOptions options) {
        super(rank, size, new Object());
        this.host = host;
        this.port = port;
        this.job = options.key();
        this.secretKnown = options.hasSecret();
    }

    /** Rank 0's end, or another rank's. */
    static TcpStore open(String host, int port, int rank, int size, BootstrapOptions options) {
        if (port < 1 || port > 65535) {
            throw new IllegalArgumentException("port is " + port + ": must be 1 to 65535");
        }
        return rank == 0 ? TcpRoot.listen(host, port, size, options) : TcpPeer.call(host, port, rank, size, options);
    }

    final void requireSecret(InetAddress address) {
        if (!address.isLoopbackAddress() && !secretKnown) {
            throw new IllegalStateException("ranks that meet at " + address
                    + " can be reached from other machines and need a secret: set NCCL4J_BOOTSTRAP_SECRET to one text"
                    + " for all ranks, or NCCL4J_BOOTSTRAP_SECRET_FILE to a file with it");
        }
    }

    static Frame gone(int rank, Departure how) {
        byte[] text = how.how().getBytes(StandardCharsets.UTF_8);
        return new Frame(Kind.GONE, rank, how.lost() ? 1 : 0,
                Arrays.copyOf(text, Math.min(text.length, MAX_REASON_BYTES)));
    }

    static Departure departure(Frame gone) {
        return new Departure(gone.key() == 1, new String(gone.content(), StandardCharsets.UTF_8));
    }

    @Override
    public final String toString() {
        return "at " + host + ":" + port;
    }
}
