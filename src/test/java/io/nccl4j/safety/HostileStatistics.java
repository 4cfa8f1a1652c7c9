package io.nccl4j.safety;

import java.util.Map;
import java.util.TreeMap;

/** What a run of {@link HostileUse} has done and seen. Thread-safe: ranks are threads. */
final class HostileStatistics {
    private final Map<String, Long> calls = new TreeMap<>();
    private final Map<String, Long> refused = new TreeMap<>();
    private final Map<String, Long> outcomes = new TreeMap<>();
    private final Map<String, Long> faults = new TreeMap<>();
    private final Map<String, Long> natives = new TreeMap<>();
    private long sequences;
    private long actions;
    private long verified;
    private long broken;

    synchronized void sequence(boolean ended) {
        sequences++;
        broken += ended ? 1 : 0;
    }

    synchronized void action() {
        actions++;
    }

    synchronized void verified() {
        verified++;
    }

    synchronized void call(String method, String outcome) {
        calls.merge(method, 1L, Long::sum);
        outcomes.merge(outcome, 1L, Long::sum);
        if (!outcome.equals("ok")) {
            refused.merge(method, 1L, Long::sum);
        }
    }

    synchronized void fault(String kind) {
        faults.merge(kind, 1L, Long::sum);
    }

    /** An error code that the libraries gave without a fault. */
    synchronized void nativeError(String what) {
        natives.merge(what, 1L, Long::sum);
    }

    synchronized long calls() {
        return calls.values().stream().mapToLong(Long::longValue).sum();
    }

    synchronized String progress() {
        return "sequences " + sequences + ", actions " + actions + ", calls " + calls();
    }

    synchronized String summary(int surface) {
        long all = calls();
        long bad = refused.values().stream().mapToLong(Long::longValue).sum();
        StringBuilder text = new StringBuilder();
        text.append("sequences ").append(sequences).append(", of which ended by a fault ").append(broken).append('\n');
        text.append("actions ").append(actions).append(", calls ").append(all).append(", refused ").append(bad)
                .append('\n');
        text.append("public methods called ").append(calls.size()).append(" of ").append(surface).append('\n');
        text.append("results verified ").append(verified).append('\n');
        text.append("outcomes ").append(outcomes).append('\n');
        text.append("faults ").append(faults).append('\n');
        text.append("native error codes without a fault ").append(natives);
        return text.toString();
    }

    synchronized java.util.Set<String> called() {
        return new java.util.TreeSet<>(calls.keySet());
    }
}
