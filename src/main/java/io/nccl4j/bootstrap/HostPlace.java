package io.nccl4j.bootstrap;

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.NetworkInterface;
import java.net.SocketException;
import java.net.UnknownHostException;
import java.util.List;

/** Rank 0 listens at a host and a port that all ranks know. */
record HostPlace(String host, int port, boolean secretKnown, Secret key) implements MeetingPlace {
    HostPlace {
        if (port < 1 || port > 65535) {
            throw new IllegalArgumentException("port is " + port + ": must be 1 to 65535");
        }
    }

    /** The address of this machine that the host names; a name that leads elsewhere (a service, say) means all. */
    @Override
    public InetSocketAddress listeningAddress() {
        try {
            InetAddress named = resolve();
            return NetworkInterface.getByInetAddress(named) == null
                    ? new InetSocketAddress(port)
                    : new InetSocketAddress(named, port);
        } catch (UnknownHostException e) {
            throw new IllegalArgumentException(
                    "rank 0 is to listen at " + host + ", which is not known: " + e.getMessage(), e);
        } catch (SocketException e) {
            return new InetSocketAddress(port);
        }
    }

    private InetAddress resolve() throws UnknownHostException {
        InetAddress address = InetAddress.getByName(host);
        if (!address.isLoopbackAddress() && !secretKnown) {
            throw new IllegalStateException("ranks that meet at " + address
                    + " can be reached from other machines and need a secret: set NCCL4J_BOOTSTRAP_SECRET to one text"
                    + " for all ranks, or NCCL4J_BOOTSTRAP_SECRET_FILE to a file with it");
        }
        return address;
    }

    @Override
    public void announce(int listening) {
        // All know it.
    }

    @Override
    public void withdraw() {
        // Nothing was left anywhere.
    }

    /** Resolved anew each time: names of containers come and go. */
    @Override
    public List<InetSocketAddress> find() throws UnknownHostException {
        try {
            return List.of(new InetSocketAddress(resolve(), port));
        } catch (UnknownHostException e) {
            throw new UnknownHostException("the host is not known");
        }
    }

    @Override
    public boolean mayChange() {
        return false;
    }

    @Override
    public String toString() {
        return "at " + host + ":" + port;
    }
}
