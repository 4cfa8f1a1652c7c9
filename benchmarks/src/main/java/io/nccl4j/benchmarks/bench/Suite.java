package io.nccl4j.benchmarks.bench;

import java.util.Map;

/** A set of measurements that belong together. */
interface Suite {

    /**
     * The result of a suite.
     *
     * @param text for people: tables
     * @param ratios for machines, by name
     */
    record Result(String text, Map<String, Double> ratios) {
    }

    /**
     * Runs it.
     *
     * @param quick short, for a first look
     * @param silent nothing on standard output meanwhile
     */
    Result run(boolean quick, boolean silent) throws Exception;
}
