package io.nccl4j.benchmarks.test;

/**
 * The outcome of a cell.
 *
 * @param cell its name
 * @param reason how many cases passed, or what went wrong, or why it was left out
 */
record Outcome(String cell, Status status, String reason) {

    enum Status {
        PASS, FAIL, SKIP
    }

    @Override
    public String toString() {
        return status + " " + cell + (reason.isEmpty() ? "" : " (" + reason + ")");
    }
}
