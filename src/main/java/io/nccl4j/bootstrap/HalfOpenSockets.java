package io.nccl4j.bootstrap;

import java.net.InetAddress;
import java.net.Socket;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;

/**
 * Connections that have not proven yet to belong to the job. There is a bound for all of them and one for each address;
 * beyond it the oldest goes, first among those that have said nothing: a rank introduces itself at once. Thread-safe.
 */
final class HalfOpenSockets {
    private static final int MAX_SOCKETS = 512;
    private static final int MAX_SOCKETS_PER_ADDRESS = 128;

    /** Whether each has introduced itself, the oldest first; guarded by itself. */
    private final Map<Socket, Boolean> sockets = new LinkedHashMap<>();

    /** Adds one, and closes the one that has to go for it. */
    void add(Socket socket) {
        InetAddress address = socket.getInetAddress();
        synchronized (sockets) {
            dropBeyond(MAX_SOCKETS_PER_ADDRESS, other -> address.equals(other.getInetAddress()));
            dropBeyond(MAX_SOCKETS, other -> true);
            sockets.put(socket, false);
        }
    }

    private void dropBeyond(int bound, Predicate<Socket> among) {
        List<Socket> all = sockets.keySet().stream().filter(among).toList();
        if (all.size() >= bound) {
            Socket oldest = all.stream().filter(socket -> !sockets.get(socket)).findFirst().orElse(all.getFirst());
            sockets.remove(oldest);
            TcpLink.close(oldest);
        }
    }

    void introduced(Socket socket) {
        synchronized (sockets) {
            sockets.computeIfPresent(socket, (key, before) -> true);
        }
    }

    void remove(Socket socket) {
        synchronized (sockets) {
            sockets.remove(socket);
        }
    }

    void closeAll() {
        synchronized (sockets) {
            sockets.keySet().forEach(TcpLink::close);
            sockets.clear();
        }
    }
}
