package io.nccl4j.safety.hostile;

import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/** Counts of the calls and results of a run of {@link HostileUse}. Thread-safe: ranks are threads. */
final class HostileStatistics {
    private final Map<String, Long> calls = new TreeMap<>();
    private final Map<String, Long> scripts = new TreeMap<>();
    private final Map<String, Long> exceptions = new TreeMap<>();
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

    /** A call with random arguments. */
    synchronized void call(String method, String outcome, @Nullable Throwable thrown) {
        calls.merge(method, 1L, Long::sum);
        count(outcome, thrown);
    }

    /** Several calls in an order that makes sense. */
    synchronized void scripted(String name, String outcome, @Nullable Throwable thrown) {
        scripts.merge(name, 1L, Long::sum);
        count(outcome, thrown);
    }

    private void count(String outcome, @Nullable Throwable thrown) {
        outcomes.merge(outcome.startsWith("native error") ? "native error" : outcome, 1L, Long::sum);
        if (thrown != null) {
            exceptions.merge(thrown.getClass().getSimpleName(), 1L, Long::sum);
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

    /** Everything, in lines of a name and its figures. */
    synchronized String summary(ApiSurface surface) {
        Set<String> missing = new TreeSet<>(surface.called());
        missing.removeAll(calls.keySet());
        return String.join("\n", "sequences " + sequences + ", of which ended by a fault " + broken,
                "actions " + actions + " of all ranks, calls with random arguments " + calls(),
                "results verified " + verified, "outcomes " + outcomes, "exceptions " + exceptions,
                "faults injected " + faults, "native error codes without a fault " + natives, "scripted " + scripts,
                "public methods called with random arguments " + calls.size() + " of " + surface.called().size()
                        + ", left out with a reason " + surface.excluded().size(),
                "rarest " + rarest(), "never called " + missing.size() + " " + missing.stream().limit(20).toList());
    }

    private String rarest() {
        return calls.entrySet().stream().sorted(Map.Entry.comparingByValue()).limit(5).toList().toString();
    }
}
