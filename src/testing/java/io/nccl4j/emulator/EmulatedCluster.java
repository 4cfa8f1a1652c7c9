package io.nccl4j.emulator;

import io.nccl4j.cuda.CudaDevice;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Several ranks as threads of this process, each with an emulated device of its own and a bootstrap to the others. For
 * tests: what a rank throws is collected, nothing waits for ever, and what was left alive is reported.
 *
 * <p>Immutable. Runs may not overlap: the limit ends every wait in the process, and what others allocate counts as a
 * leak.
 */
public final class EmulatedCluster {
    private static final Duration LIMIT = Duration.ofSeconds(60);

    private final int size;
    private final Duration limit;
    private final boolean leaksAllowed;
    /** Ranks of each host; 0 for all on one, unless the options say otherwise. */
    private final int ranksPerHost;

    private EmulatedCluster(int size, Duration limit, boolean leaksAllowed, int ranksPerHost) {
        if (size < 1) {
            throw new IllegalArgumentException("a cluster of " + size + " ranks: must be at least 1");
        }
        if (limit.isNegative() || limit.isZero()) {
            throw new IllegalArgumentException("limit is " + limit + ": must be positive");
        }
        this.size = size;
        this.limit = limit;
        this.leaksAllowed = leaksAllowed;
        this.ranksPerHost = ranksPerHost;
    }

    /** A cluster of so many ranks, with a limit of 60 seconds. Rank r has device r. */
    public static EmulatedCluster of(int size) {
        return new EmulatedCluster(size, LIMIT, false, 0);
    }

    /**
     * A cluster of several hosts, each with so many ranks, that is, of as many LSA teams: ranks of one host address
     * each other's memory, those of others are reached over a network. Ranks are numbered host by host.
     *
     * @throws IllegalArgumentException if a number is not positive, or there are more than 64 ranks or 8 on a host
     */
    public static EmulatedCluster teams(int hosts, int ranksPerHost) {
        if (hosts < 1 || ranksPerHost < 1 || hosts > 1 && ranksPerHost > 8 || (long) hosts * ranksPerHost > 64) {
            throw new IllegalArgumentException(hosts + " hosts of " + ranksPerHost
                    + " ranks: both must be at least 1, with at most 8 ranks on one of several hosts and 64 in all");
        }
        return new EmulatedCluster(hosts * ranksPerHost, LIMIT, false, ranksPerHost);
    }

    /**
     * This cluster with its ranks on so many hosts; see {@link #teams}.
     *
     * @throws IllegalArgumentException if the hosts cannot have equally many ranks
     */
    public EmulatedCluster onHosts(int hosts) {
        if (hosts < 1 || size % hosts != 0) {
            throw new IllegalArgumentException(
                    size + " ranks on " + hosts + " hosts: every host must have the same number of ranks");
        }
        return new EmulatedCluster(size, limit, leaksAllowed, teams(hosts, size / hosts).ranksPerHost);
    }

    /** Runs {@code action} on each of {@code size} ranks; see {@link #run(RankAction)}. */
    public static void run(int size, RankAction action) {
        of(size).run(action);
    }

    /** With another time limit for a run. Also the limit of the ranks' bootstrap. */
    public EmulatedCluster limit(Duration value) {
        return new EmulatedCluster(size, value, leaksAllowed, ranksPerHost);
    }

    /** Does not fail because of what is left alive after a run. */
    public EmulatedCluster allowLeaks() {
        return new EmulatedCluster(size, limit, true, ranksPerHost);
    }

    /** Number of ranks. */
    public int size() {
        return size;
    }

    /**
     * Runs {@code action} on each rank, on a platform thread with the rank's device current, and waits for all. From
     * then on misuse is {@link MisuseMode#REPORT reported} in this process.
     *
     * <p>Once a rank has failed, the others have 5 seconds to end by themselves. After that, or when the time limit is
     * reached, every wait among ranks in this process is ended with an error, so that their threads end too.
     *
     * @throws EmulatedClusterException if a rank failed or did not end in time, or something was left alive
     */
    public void run(RankAction action) {
        this.<@Nullable Void>call(rank -> {
            action.run(rank);
            return null;
        });
    }

    /** Like {@link #run(RankAction)}, and returns what the ranks give back, by rank. */
    public <T extends @Nullable Object> List<T> call(RankBody<T> body) {
        Emulator.use();
        // A rank's mistake ends that rank, with the reason, not the process.
        Emulator.options().misuse(MisuseMode.REPORT);
        int devices = CudaDevice.count();
        if (size > devices && Emulator.options().get("shared_devices").equals("0")) {
            throw new IllegalArgumentException(
                    "a cluster of " + size + " ranks needs as many devices, and the emulator has " + devices
                            + ": raise them before the first CUDA call, or allow shared devices");
        }
        EmulatorUsage before = Emulator.usage();
        List<T> results = onItsHosts(() -> new ClusterRun<>(size, devices, limit, body).run());
        List<String> leaks = Emulator.usage().leakedSince(before);
        if (!leaks.isEmpty() && !leaksAllowed) {
            throw new EmulatedClusterException("the ranks left alive: " + String.join(", ", leaks), Map.of());
        }
        return results;
    }

    private <T> T onItsHosts(Supplier<T> run) {
        if (ranksPerHost == 0) {
            return run.get();
        }
        int before = Integer.parseInt(Emulator.options().get("host_devices"));
        Emulator.options().devicesPerHost(ranksPerHost);
        try {
            return run.get();
        } finally {
            Emulator.options().devicesPerHost(before);
        }
    }
}
