package io.nccl4j.bootstrap;

import java.io.Closeable;
import java.io.EOFException;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.net.ConnectException;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.SocketTimeoutException;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** A connection on which everything has a deadline, reading, writing and connecting. */
final class PeerChannel implements Closeable {
    private final SocketChannel channel;
    private final Selector selector;
    private final SocketAddress remote;
    private final ByteBuffer header = ByteBuffer.allocate(Frame.HEADER_BYTES);
    private @Nullable ByteBuffer contents;

    /** Takes a connected channel over. */
    PeerChannel(SocketChannel channel) throws IOException {
        this.channel = channel;
        this.remote = channel.getRemoteAddress();
        channel.configureBlocking(false);
        channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
        this.selector = Selector.open();
        channel.register(selector, 0);
    }

    static PeerChannel connect(InetSocketAddress address, long deadline) throws IOException {
        SocketChannel channel = SocketChannel.open();
        try (Selector selector = Selector.open()) {
            channel.configureBlocking(false);
            channel.register(selector, SelectionKey.OP_CONNECT);
            if (!channel.connect(address)) {
                select(selector, deadline);
                if (!channel.finishConnect()) {
                    throw new SocketTimeoutException("connecting takes too long");
                }
            }
            refuseItself(channel);
        } catch (IOException e) {
            channel.close();
            throw e;
        }
        // The selector above is gone and with it the key, so the channel can be registered anew.
        try {
            return new PeerChannel(channel);
        } catch (IOException e) {
            channel.close();
            throw e;
        }
    }

    /**
     * On its own machine a connection to a port that nobody listens at can be given that very port as its own, and then
     * meets itself. It must not keep the port from rank 0.
     */
    private static void refuseItself(SocketChannel channel) throws IOException {
        if (channel.getLocalAddress().equals(channel.getRemoteAddress())) {
            channel.setOption(StandardSocketOptions.SO_LINGER, 0);
            throw new ConnectException("nobody listens there");
        }
    }

    /** Who is at the other end. */
    SocketAddress remote() {
        return remote;
    }

    SocketChannel channel() {
        return channel;
    }

    void write(ByteBuffer bytes, long deadline) throws IOException {
        while (bytes.hasRemaining()) {
            if (channel.write(bytes) == 0) {
                await(SelectionKey.OP_WRITE, deadline);
            }
        }
    }

    byte[] read(int count, long deadline) throws IOException {
        ByteBuffer bytes = ByteBuffer.allocate(count);
        while (!fill(bytes)) {
            await(SelectionKey.OP_READ, deadline);
        }
        return bytes.array();
    }

    void send(Frame frame, long deadline) throws IOException {
        write(frame.encode(), deadline);
    }

    Frame receive(long deadline) throws IOException {
        Frame frame = poll();
        while (frame == null) {
            await(SelectionKey.OP_READ, deadline);
            frame = poll();
        }
        return frame;
    }

    /** The next message if it is there in full, null if not; what there is of it is kept. */
    @Nullable
    Frame poll() throws IOException {
        if (contents == null) {
            if (!fill(header)) {
                return null;
            }
            contents = ByteBuffer.allocate(Frame.contentBytes(header));
        }
        if (!fill(contents)) {
            return null;
        }
        Frame frame = Frame.decode(header, contents.array());
        header.clear();
        contents = null;
        return frame;
    }

    private boolean fill(ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            int count = channel.read(bytes);
            if (count < 0) {
                throw new EOFException("the other end has closed the connection");
            }
            if (count == 0) {
                return false;
            }
        }
        return true;
    }

    private void await(int operation, long deadline) throws IOException {
        SelectionKey key = channel.keyFor(selector);
        if (key == null) {
            throw new EOFException("the connection is closed");
        }
        key.interestOps(operation);
        select(selector, deadline);
        key.interestOps(0);
    }

    /** Waits for the selector; throws after the deadline, and if this thread is interrupted. */
    static void select(Selector selector, long deadline) throws IOException {
        long rest = TimeUnit.NANOSECONDS.toMillis(deadline - System.nanoTime());
        if (rest <= 0) {
            throw new SocketTimeoutException("the time limit was reached");
        }
        selector.select(rest);
        selector.selectedKeys().clear();
        if (Thread.currentThread().isInterrupted()) {
            throw new InterruptedIOException("the thread was interrupted");
        }
    }

    @Override
    public void close() throws IOException {
        try {
            channel.close();
        } finally {
            selector.close();
        }
    }
}
