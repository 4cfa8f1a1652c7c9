package io.nccl4j.bootstrap;

import io.nccl4j.bootstrap.Frame.Kind;
import io.nccl4j.nccl.Departure;
import java.io.BufferedOutputStream;
import java.io.Closeable;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.OutputStream;
import java.net.ProtocolException;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A connection between rank 0 and another rank. Both send frames, each with a proof that covers its number: nobody who
 * does not know the secret can change, repeat or leave out one. The first ones agree on the keys of the connection:
 *
 * <pre>
 * rank    HELLO      rank, number of ranks, nonce; proven with the key of the job
 * rank 0  CHALLENGE  nonce; proven with a key made from the rank's nonce, everything after it with keys made from both
 * rank    JOIN
 * </pre>
 */
final class TcpLink {
    /** The other end is not what is looked for; another attempt would find the same. */
    static final class StrangerException extends ProtocolException {
        private static final long serialVersionUID = 1L;

        StrangerException(String message) {
            super(message);
        }
    }

    private static final Logger LOG = LoggerFactory.getLogger(TcpLink.class);
    private static final int MARK = 0x6e346a32;
    private static final int HEADER_BYTES = 4 + 1 + 4 + 8 + 4;
    /** Of a challenge, or of the reason of a refusal. */
    private static final int MAX_ANSWER_BYTES = 1 << 10;
    private static final int REFUSED_MILLIS = 500;
    private static final int MAX_UNREAD_BYTES = 1 << 16;
    private static final Kind[] KINDS = Kind.values();
    /** Ends the writer. */
    private static final Frame LAST = new Frame(Kind.FORGET, -1);

    private final Socket socket;
    private final boolean root;
    private final Secret job;
    private final DataInputStream in;
    private final OutputStream out;
    private final BlockingQueue<Frame> outgoing = new LinkedBlockingQueue<>();
    private Secret sendKey;
    private Secret receiveKey;
    private long sent;
    private long received;

    /** @param root whether this is the end of rank 0 */
    TcpLink(Socket socket, Secret job, boolean root) throws IOException {
        this.socket = socket;
        this.root = root;
        this.job = job;
        this.in = new DataInputStream(socket.getInputStream());
        this.out = new BufferedOutputStream(socket.getOutputStream(), 1 << 16);
        this.sendKey = key(root);
        this.receiveKey = key(!root);
        socket.setTcpNoDelay(true);
        socket.setKeepAlive(true);
    }

    private Secret key(boolean fromRoot, byte[]... nonces) {
        return job.derive(fromRoot ? "from rank 0" : "to rank 0", nonces);
    }

    private void agree(byte[] rankNonce, byte[] rootNonce) {
        sendKey = key(root, rankNonce, rootNonce);
        receiveKey = key(!root, rankNonce, rootNonce);
    }

    /** The first words of a rank other than 0; afterwards it is known who listens. */
    void introduce(int rank, int size) throws IOException {
        byte[] nonce = Secret.nonce();
        write(new Frame(Kind.HELLO, rank, size, nonce));
        receiveKey = key(!root, nonce);
        agree(nonce, receive(MAX_ANSWER_BYTES, Kind.CHALLENGE).content());
    }

    /** Rank 0: the first words of a rank. */
    Frame receiveHello() throws IOException {
        try {
            Frame hello = receive(Secret.NONCE_BYTES, Kind.HELLO);
            if (hello.content().length != Secret.NONCE_BYTES) {
                throw new StrangerException("it sent a nonce of " + hello.content().length + " bytes");
            }
            return hello;
        } catch (StrangerException e) {
            // That it cannot verify the answer tells it as much.
            refuse(e.getMessage());
            throw e;
        }
    }

    /** Rank 0's answer to a HELLO. */
    void challenge(Frame hello) throws IOException {
        byte[] nonce = Secret.nonce();
        sendKey = key(root, hello.content());
        write(new Frame(Kind.CHALLENGE, 0, 0, nonce));
        agree(hello.content(), nonce);
    }

    /** The next frame of a rank that belongs to the job. */
    Frame receive() throws IOException {
        return receive(Store.MAX_BYTES);
    }

    /** The next frame, which must be of this kind. */
    Frame receive(int maxBytes, Kind expected) throws IOException {
        Frame frame = receive(maxBytes);
        if (frame.kind() != expected) {
            throw new StrangerException("it sent " + frame.kind() + " instead of " + expected);
        }
        return frame;
    }

    /** Waits for the next frame, as long as the socket's time limit. */
    private Frame receive(int maxBytes) throws IOException {
        try {
            byte[] header = new byte[HEADER_BYTES];
            in.readFully(header);
            ByteBuffer fields = ByteBuffer.wrap(header);
            if (fields.getInt() != MARK) {
                throw new StrangerException((root ? "it" : "what listens there")
                        + " does not speak the language of this version of nccl4j");
            }
            int kind = fields.get();
            int rank = fields.getInt();
            long key = fields.getLong();
            int length = fields.getInt();
            if (kind < 0 || kind >= KINDS.length || length < 0 || length > maxBytes) {
                throw new StrangerException("what came is not a message (kind " + kind + ", length " + length + ")");
            }
            byte[] content = new byte[length];
            in.readFully(content);
            byte[] proof = new byte[Secret.PROOF_BYTES];
            in.readFully(proof);
            if (!receiveKey.proves(proof, number(received++), header, content)) {
                throw new StrangerException((root ? "it calls itself rank " + rank + " and" : "rank 0 there")
                        + " has another secret or is of another job");
            }
            return new Frame(KINDS[kind], rank, key, content);
        } catch (EOFException e) {
            throw new IOException("the other end has closed it", e);
        }
    }

    private static byte[] number(long value) {
        return ByteBuffer.allocate(8).putLong(value).array();
    }

    private void write(Frame frame) throws IOException {
        byte[] header = ByteBuffer.allocate(HEADER_BYTES).putInt(MARK).put((byte) frame.kind().ordinal())
                .putInt(frame.rank()).putLong(frame.key()).putInt(frame.content().length).array();
        out.write(header);
        out.write(frame.content());
        out.write(sendKey.proof(number(sent++), header, frame.content()));
        if (outgoing.isEmpty()) {
            out.flush();
        }
    }

    /** Sends what was and will be given to {@link #send}, on a thread of its own, until {@link #finish}. */
    void startWriter() {
        Thread.ofPlatform().daemon().name("nccl4j bootstrap writer").start(() -> {
            try {
                for (Frame frame = outgoing.take(); frame != LAST; frame = outgoing.take()) {
                    write(frame);
                }
                out.flush();
                socket.shutdownOutput();
            } catch (IOException e) {
                // The reader finds out as well.
                LOG.debug("a connection of the bootstrap has failed", e);
            } catch (InterruptedException e) {
                throw new AssertionError("nobody interrupts this thread", e);
            }
        });
    }

    /** Enqueues a frame; does not block. */
    void send(Frame frame) {
        outgoing.add(frame);
    }

    /** Nothing follows what was sent. */
    void finish() {
        outgoing.add(LAST);
    }

    /** Tells the other end why it is refused, and gives it a moment to read that. */
    void refuse(String reason) {
        try {
            write(new Frame(Kind.REFUSED, 0, 0, reason.getBytes(StandardCharsets.UTF_8)));
            socket.shutdownOutput();
            // A connection that is closed with unread bytes loses what was sent last.
            socket.setSoTimeout(REFUSED_MILLIS);
            in.skipNBytes(MAX_UNREAD_BYTES);
        } catch (IOException e) {
            LOG.debug("a refused connection has ended", e);
        }
    }

    Socket socket() {
        return socket;
    }

    static Departure lost(IOException reason) {
        return new Departure(true, "is lost: its connection broke (" + reason.getMessage() + ")");
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
