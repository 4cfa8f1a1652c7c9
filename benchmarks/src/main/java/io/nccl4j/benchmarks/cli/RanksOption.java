package io.nccl4j.benchmarks.cli;

import io.nccl4j.Backend;
import io.nccl4j.emulator.Emulator;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** The number of ranks, and the hosts that they are on; a mixin. */
public final class RanksOption {
    private static final int MOST = 64;
    private static final int MOST_OF_A_HOST = 8;

    private final int byDefault;

    @Option(names = "--ranks", paramLabel = "N", description = "Number of ranks (default: ${DEFAULT-VALUE}).")
    private int ranks;

    @Option(names = "--teams", paramLabel = "HxN",
            description = "H hosts of N ranks each, which are H LSA teams; 2x4 is 8 ranks on 2 hosts (default: all "
                    + "ranks on one host). With --backend native NCCL_LSA_TEAM_SIZE makes the teams, of one host: "
                    + "native/rma-local/README.md.")
    private @Nullable String teams;

    @Option(names = "--share-device",
            description = "Several ranks on one device, as threads, where there are fewer devices than ranks. With "
                    + "--backend native see native/rma-local/README.md.")
    private boolean shareDevices;

    public RanksOption(int byDefault) {
        this.byDefault = byDefault;
        ranks = byDefault;
    }

    /** Number of ranks. */
    public int count() {
        return teams == null ? ranks : hosts() * ranksOfAHost();
    }

    /** Number of hosts, as many as LSA teams. */
    public int hosts() {
        return teams == null ? 1 : number(0);
    }

    /** Whether several ranks may be on one device. */
    public boolean shareDevices() {
        return shareDevices;
    }

    private int ranksOfAHost() {
        return number(1);
    }

    private int number(int at) {
        return teams == null ? 0 : Integer.parseInt(teams.split("x")[at]);
    }

    /** Refuses numbers that make no sense. */
    public void check(Usage usage) {
        if (teams != null) {
            usage.require(teams.matches("[1-9][0-9]{0,3}x[1-9][0-9]{0,3}"),
                    "--teams %s: must be hosts x ranks of each, such as 2x4", teams);
            usage.require(hosts() == 1 || ranksOfAHost() <= MOST_OF_A_HOST,
                    "--teams %s: NCCL EP over several hosts takes at most %d ranks on each", teams, MOST_OF_A_HOST);
            usage.require(count() <= MOST, "--teams %s: NCCL EP takes at most %d ranks", teams, MOST);
            usage.require(ranks == byDefault || ranks == count(), "--teams %s has %d ranks, and --ranks says %d", teams,
                    count(), ranks);
        }
        usage.requireIn("--ranks", count(), MOST);
    }

    /** The same options, for another process. */
    public List<String> arguments() {
        return teams == null ? List.of("--ranks", Integer.toString(count())) : List.of("--teams", teams);
    }

    /**
     * Puts the emulator's devices into hosts; see {@link OneHostTeams} for the real libraries. Before the first
     * communicator is made.
     *
     * @throws picocli.CommandLine.ParameterException if what was asked for cannot be had
     */
    public void use(Backend backend, Usage usage) {
        String options = (teams == null ? "" : "--teams " + teams) + (shareDevices ? " --share-device" : "");
        if (options.isEmpty()) {
            return;
        }
        if (backend != Backend.EMULATOR) {
            OneHostTeams.use(options.strip(), hosts(), ranksOfAHost(), shareDevices, usage);
            return;
        }
        usage.require(teams == null || !shareDevices, "%s: the emulator makes hosts of devices, one of each rank",
                options);
        Emulator.use();
        if (shareDevices) {
            Emulator.options().sharedDevices(true);
        } else {
            Emulator.options().devicesPerHost(ranksOfAHost());
        }
    }
}
