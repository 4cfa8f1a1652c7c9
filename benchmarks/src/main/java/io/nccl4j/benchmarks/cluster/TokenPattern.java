package io.nccl4j.benchmarks.cluster;

import io.nccl4j.oracle.NumberFormat;

/**
 * Tokens that tell where they come from: their first elements are digits of rank and number, the others follow from these. All are
 * small integers, which every number format has.
 */
final class TokenPattern {
    private static final int BASE = 128;
    private static final int SPREAD = 97;

    private final NumberFormat format;
    private final int hidden;

    TokenPattern(NumberFormat format, int hidden) {
        this.format = format;
        this.hidden = hidden;
    }

    int rowBytes() {
        return hidden * format.bytes();
    }

    /** An element of a token. */
    float value(int rank, int token, int element) {
        return switch (element) {
            case 0 -> rank;
            case 1 -> token / BASE;
            case 2 -> token % BASE;
            default -> Math.floorMod(31 * rank + 7 * token + 13 * element, SPREAD) - SPREAD / 2;
        };
    }

    /** A token's row. */
    byte[] row(int rank, int token) {
        byte[] row = new byte[rowBytes()];
        for (int element = 0; element < hidden; element++) {
            format.set(row, element, value(rank, token, element));
        }
        return row;
    }

    /** The key of the token that a row claims to be. */
    static long key(int rank, int token) {
        return (long) rank << Integer.SIZE | token;
    }

    /** The key of the token that this row is, or -1 if it is none. */
    long identify(byte[] row) {
        float rank = format.get(row, 0);
        float high = format.get(row, 1);
        float low = format.get(row, 2);
        if (!(rank >= 0 && high >= 0 && low >= 0)) {
            return -1;
        }
        int source = (int) rank;
        int token = (int) high * BASE + (int) low;
        for (int element = 0; element < hidden; element++) {
            if (format.get(row, element) != value(source, token, element)) {
                return -1;
            }
        }
        return key(source, token);
    }

    /** The first element in which a row is not the token times {@code factor}, or -1; what additions round is let pass. */
    int differsFrom(byte[] row, int rank, int token, double factor) {
        for (int element = 0; element < hidden; element++) {
            double wanted = factor * value(rank, token, element);
            if (!(Math.abs(format.get(row, element) - wanted) <= Math.abs(wanted) / BASE + 1.0 / BASE)) {
                return element;
            }
        }
        return -1;
    }
}
