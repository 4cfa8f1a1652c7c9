package io.nccl4j.emulator;

import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Ranks of an {@link EmulatedCluster} have failed, did not end in time, or have left something alive. The cause is what
 * failed first, the others are suppressed exceptions; each is a rank's own, so its trace is of that rank's thread.
 */
public final class EmulatedClusterException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final transient SortedMap<Integer, Throwable> failures;

    EmulatedClusterException(String message, Map<Integer, Throwable> failures) {
        super(message, failures.isEmpty() ? null : failures.values().iterator().next());
        this.failures = new TreeMap<>(failures);
        failures.values().stream().skip(1).forEach(this::addSuppressed);
    }

    /**
     * The exception of each failed rank, by rank; for one that did not end in time an exception whose trace shows where
     * it was.
     */
    public SortedMap<Integer, Throwable> failures() {
        return failures;
    }
}
