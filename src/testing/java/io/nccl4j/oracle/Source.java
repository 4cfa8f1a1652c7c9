package io.nccl4j.oracle;

/**
 * Where a row came from.
 *
 * @param rank the rank that sent it
 * @param token the token's index on that rank
 */
public record Source(int rank, int token) {

    @Override
    public String toString() {
        return "token " + token + " of rank " + rank;
    }
}
