package io.nccl4j.bootstrap;

import io.nccl4j.nccl.Departure;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * A message between the stores of a job.
 *
 * @param rank the rank that it is about
 */
record Frame(Kind kind, int rank, long key, byte[] content) {
    /** The purpose of a frame. */
    enum Kind {
        /** A rank calls; the key is the number of ranks. */
        HELLO,
        /** Rank 0 answers. */
        CHALLENGE,
        /** A rank has proven to know the secret. */
        JOIN,
        /** A rank has put this value under this key. */
        VALUE,
        /** A rank has gone; the key is 1 if it is lost. */
        GONE,
        /** A rank has gone before all were there, and may come again. */
        FORGET,
        /** Rank 0 does not want this rank; holds why. */
        REFUSED
    }

    private static final int MAX_REASON_BYTES = 1 << 16;

    Frame(Kind kind, int rank) {
        this(kind, rank, 0, new byte[0]);
    }

    static Frame gone(int rank, Departure how) {
        byte[] text = how.how().getBytes(StandardCharsets.UTF_8);
        return new Frame(Kind.GONE, rank, how.lost() ? 1 : 0,
                Arrays.copyOf(text, Math.min(text.length, MAX_REASON_BYTES)));
    }

    Departure departure() {
        return new Departure(key == 1, text());
    }

    String text() {
        return new String(content, StandardCharsets.UTF_8);
    }
}
