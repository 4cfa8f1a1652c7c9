package io.nccl4j.safety.kill;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.cuda.CudaException;
import io.nccl4j.nccl.NcclException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The fates of the ranks of a trial. */
final class Outcome {
    /** Beyond the limit: what a call does after the wait. Far less than another limit. */
    private static final long MOST_MILLIS = 2_500;
    private static final Set<String> DOCUMENTED = Set.of(WaitTimeoutException.class.getName(),
            IllegalStateException.class.getName(), CancellationException.class.getName(), CudaException.class.getName(),
            NcclException.class.getName());
    private static final Pattern EXCEPTION = Pattern.compile("^(at (\\w+)|close) ([\\w.$]+): (.*)$", Pattern.MULTILINE);
    private static final Pattern OVER = Pattern.compile("^over the limit by (-?\\d+) ms: (.*)$", Pattern.MULTILINE);
    /** NCCL EP ends the process if a rank goes while it meets the others inside a call; Java cannot help that. */
    private static final Pattern EXIT = Pattern
            .compile("^nccl4j emulator: (ncclEpCreateGroup|ncclEpInitHandle), rank \\d+: .*"
                    + "(ranks did not meet|could not share their buffers): .* is dead .*$", Pattern.MULTILINE);
    /** It throws through C if the device fails while a dispatch waits for it. */
    private static final Pattern THROW = Pattern
            .compile("^nccl4j emulator: ncclEpDispatch, rank \\d+: .*the device has failed .*$", Pattern.MULTILINE);
    private static final Pattern SIGNAL = Pattern.compile("^signal at (\\w+)$", Pattern.MULTILINE);

    private final Trial trial;
    private final List<String> faults = new ArrayList<>();
    private final List<String> ends = new ArrayList<>();
    private final StringBuilder summary = new StringBuilder();
    private final StringBuilder said = new StringBuilder();
    private long worstMillis = Long.MIN_VALUE;

    Outcome(Trial trial) {
        this.trial = trial;
    }

    void add(int rank, String text, int exitCode, boolean ended) {
        boolean victim = rank == trial.victim();
        said.append("--- rank ").append(rank).append(", exit code ").append(exitCode).append('\n').append(text)
                .append('\n');
        Matcher signal = SIGNAL.matcher(text);
        String where = signal.find() ? signal.group(1) : null;
        summary.append(summary.isEmpty() ? "" : "; ").append(victim ? "victim " : "rank ").append(rank)
                .append(where == null ? " " : " (at " + where + ") ").append(exitCode);
        check(ended, rank, "hangs");
        boolean done = text.lines().anyMatch("done"::equals);
        if (exitCode == 1 && EXIT.matcher(text).find() || exitCode == 134 && THROW.matcher(text).find()) {
            ends.add("exit inside of NCCL EP");
            summary.append(" exit inside of NCCL EP");
            return;
        }
        if (victim && trial.signal() != Signal.STOP) {
            // It may have come to its end before.
            boolean late = done && (where == null || where.equals(Place.CLOSE.name()));
            check(exitCode == trial.signal().exitCode() || exitCode == 0 && late, rank, "ended with " + exitCode);
            check(done || !trial.hook(), rank, "did not close everything in its hook");
        } else {
            check(exitCode == 0 && done, rank, "ended with " + exitCode);
        }
        if (text.lines().anyMatch("finished"::equals)) {
            ends.add("finished");
            summary.append(" finished");
        } else {
            check(trial.pause() == null, rank, "did not outlive a pause");
        }
        checkExceptions(rank, text);
        checkLimits(rank, text);
    }

    private void checkExceptions(int rank, String text) {
        for (Matcher thrown = EXCEPTION.matcher(text); thrown.find();) {
            String type = thrown.group(3);
            check(DOCUMENTED.contains(type), rank, "threw " + thrown.group());
            check(!thrown.group(4).isBlank() && !thrown.group(4).equals("null"), rank, "gave no reason");
            if (thrown.group(2) != null) {
                String brief = type.substring(type.lastIndexOf('.') + 1);
                ends.add(brief + " at " + thrown.group(2));
                summary.append(' ').append(brief).append(" at ").append(thrown.group(2));
            } else {
                check(false, rank, "close threw: " + thrown.group());
            }
        }
    }

    private void checkLimits(int rank, String text) {
        Matcher over = OVER.matcher(text);
        if (over.find()) {
            long millis = Long.parseLong(over.group(1));
            worstMillis = Math.max(worstMillis, millis);
            check(millis <= MOST_MILLIS, rank, over.group());
        }
    }

    private void check(boolean right, int rank, String fault) {
        if (!right) {
            faults.add("rank " + rank + " " + fault);
        }
    }

    List<String> faults() {
        return faults;
    }

    /** By how much the slowest call exceeded its limit; negative if none did. */
    long worstMillis() {
        return worstMillis;
    }

    String said() {
        return said.toString();
    }

    void countEnds(Map<String, Integer> counts) {
        ends.forEach(end -> counts.merge(end, 1, Integer::sum));
    }

    @Override
    public String toString() {
        return summary.toString();
    }
}
