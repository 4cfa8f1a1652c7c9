package io.nccl4j.bootstrap;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import org.jspecify.annotations.Nullable;

/** A message between rank 0 and another rank once they know each other: kind, number of the call, length, contents. */
record Frame(Kind kind, long call, byte[] contents) {
    /** What a message is for. */
    enum Kind {
        /** All ranks are there; holds the local rank. */
        WELCOME,
        /** Rank 0 still waits; holds the names of those missing. */
        WAITING,
        /** What a rank gives. */
        GIVEN,
        /** What all have given. */
        RESULT,
        /** Nothing goes on; holds why. */
        FAILED
    }

    /** Bytes before the contents. */
    static final int HEADER_BYTES = 1 + 8 + 4;
    private static final int MOST_RESULT_BYTES = 1 << 28;

    static Frame text(Kind kind, long call, String text) {
        return new Frame(kind, call, text.getBytes(StandardCharsets.UTF_8));
    }

    String text() {
        return new String(contents, StandardCharsets.UTF_8);
    }

    ByteBuffer encode() {
        return ByteBuffer.allocate(HEADER_BYTES + contents.length).put((byte) kind.ordinal()).putLong(call)
                .putInt(contents.length).put(contents).flip();
    }

    /** Bytes of the contents that belong to a header. */
    static int contentBytes(ByteBuffer header) throws IOException {
        int kind = header.get(0);
        int length = header.getInt(9);
        int most = kind == Kind.RESULT.ordinal() ? MOST_RESULT_BYTES : HostExchange.MOST_BYTES;
        if (kind < 0 || kind >= Kind.values().length || length < 0 || length > most) {
            throw new IOException("what came is not a message (kind " + kind + ", length " + length + ")");
        }
        return length;
    }

    static Frame decode(ByteBuffer header, byte[] contents) {
        return new Frame(Kind.values()[header.get(0)], header.getLong(1), contents);
    }

    /** The contributions of all ranks as the contents of a result. */
    static byte[] join(byte[][] given) {
        long bytes = 0;
        for (byte[] one : given) {
            bytes += 4 + one.length;
        }
        if (bytes > MOST_RESULT_BYTES) {
            throw new IllegalArgumentException("the ranks give " + bytes + " bytes together: a bootstrap carries "
                    + MOST_RESULT_BYTES + " at most");
        }
        ByteBuffer all = ByteBuffer.allocate((int) bytes);
        for (byte[] one : given) {
            all.putInt(one.length).put(one);
        }
        return all.array();
    }

    /** The contributions of {@code ranks} ranks; null if it does not hold so many. */
    byte[] @Nullable [] split(int ranks) {
        ByteBuffer all = ByteBuffer.wrap(contents);
        byte[][] given = new byte[ranks][];
        for (int rank = 0; rank < ranks; rank++) {
            if (all.remaining() < 4) {
                return null;
            }
            int length = all.getInt();
            if (length < 0 || length > all.remaining()) {
                return null;
            }
            given[rank] = new byte[length];
            all.get(given[rank]);
        }
        return all.hasRemaining() ? null : given;
    }
}
