package io.nccl4j.bootstrap;

import java.io.IOException;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * The first words on a connection, in which both ends prove that they know the job's secret:
 *
 * <pre>
 * rank    mark (8), nonce (16), rank (4), size (4)
 * rank 0  mark (8), nonce (16), proof (32)
 * rank    proof (32), length (2) and name of its machine
 * </pre>
 *
 * After that come {@link Frame}s.
 */
final class TcpHandshake {
    private static final byte[] RANK_MARK = "nccl4jR1".getBytes(StandardCharsets.US_ASCII);
    private static final byte[] ROOT_MARK = "nccl4jZ1".getBytes(StandardCharsets.US_ASCII);
    private static final int HELLO_BYTES = 8 + Secret.NONCE_BYTES + 4 + 4;
    private static final int ANSWER_BYTES = 8 + Secret.NONCE_BYTES + Secret.PROOF_BYTES;

    /** What rank 0 learns. */
    record Guest(int rank, int size, String host) {
    }

    /** The other end is not what this rank looks for; another attempt would find the same. */
    static final class StrangerException extends ProtocolException {
        private static final long serialVersionUID = 1L;

        StrangerException(String message) {
            super(message);
        }
    }

    private TcpHandshake() {
    }

    /** The side of a rank other than 0. */
    static void introduce(PeerChannel channel, int rank, int size, String host, Secret secret, long deadline)
            throws IOException {
        byte[] nonce = Secret.nonce();
        byte[] hello = ByteBuffer.allocate(HELLO_BYTES).put(RANK_MARK).put(nonce).putInt(rank).putInt(size).array();
        channel.write(ByteBuffer.wrap(hello), deadline);
        byte[] mark = channel.read(ROOT_MARK.length, deadline);
        if (!Arrays.equals(mark, ROOT_MARK)) {
            throw new StrangerException("what listens there is not rank 0 of a job of nccl4j");
        }
        byte[] answer = channel.read(ANSWER_BYTES - ROOT_MARK.length, deadline);
        byte[] rootNonce = Arrays.copyOf(answer, Secret.NONCE_BYTES);
        byte[] proof = Arrays.copyOfRange(answer, Secret.NONCE_BYTES, answer.length);
        if (!secret.proves(proof, ROOT_MARK, rootNonce, hello)) {
            throw new StrangerException("rank 0 there has another secret or is of another job");
        }
        byte[] name = host.getBytes(StandardCharsets.UTF_8);
        channel.write(ByteBuffer.allocate(Secret.PROOF_BYTES + 2 + name.length)
                .put(secret.proof(RANK_MARK, rootNonce, hello, name))
                .putShort((short) name.length).put(name).flip(), deadline);
    }

    /** The side of rank 0. */
    static Guest receive(PeerChannel channel, Secret secret, long deadline) throws IOException {
        byte[] hello = channel.read(HELLO_BYTES, deadline);
        ByteBuffer fields = ByteBuffer.wrap(hello);
        byte[] mark = new byte[RANK_MARK.length];
        fields.get(mark);
        if (!Arrays.equals(mark, RANK_MARK)) {
            throw new StrangerException("it does not speak the language of nccl4j");
        }
        int rank = fields.getInt(RANK_MARK.length + Secret.NONCE_BYTES);
        int size = fields.getInt(RANK_MARK.length + Secret.NONCE_BYTES + 4);
        byte[] nonce = Secret.nonce();
        channel.write(
                ByteBuffer.allocate(ANSWER_BYTES).put(ROOT_MARK).put(nonce).put(secret.proof(ROOT_MARK, nonce, hello))
                        .flip(),
                deadline);
        byte[] proof = channel.read(Secret.PROOF_BYTES, deadline);
        int length = ByteBuffer.wrap(channel.read(2, deadline)).getShort() & 0xffff;
        byte[] name = channel.read(length, deadline);
        if (!secret.proves(proof, RANK_MARK, nonce, hello, name)) {
            throw new StrangerException(
                    "it calls itself rank " + rank + " and has another secret or is of another job");
        }
        return new Guest(rank, size, new String(name, StandardCharsets.UTF_8));
    }
}
