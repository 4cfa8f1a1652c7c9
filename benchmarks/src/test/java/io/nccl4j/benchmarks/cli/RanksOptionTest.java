package io.nccl4j.benchmarks.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.Backend;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.ParameterException;

/** Ranks and hosts as options of a command. */
class RanksOptionTest {
    @Command
    private static final class Ranks {
        @Mixin
        private final RanksOption option = new RanksOption(4);
    }

    private static RanksOption check(String... arguments) {
        Ranks ranks = new Ranks();
        CommandLine command = new CommandLine(ranks);
        command.parseArgs(arguments);
        ranks.option.check(new Usage(command.getCommandSpec()));
        return ranks.option;
    }

    @Test
    void teamsAreHostsOfEquallyManyRanks() {
        RanksOption option = check("--teams", "2x8");
        assertThat(option.hosts()).isEqualTo(2);
        assertThat(option.count()).isEqualTo(16);
        assertThat(option.arguments()).containsExactly("--teams", "2x8");
        assertThat(check("--teams", "8x8", "--ranks", "64").count()).isEqualTo(64);
        assertThat(check().hosts()).isEqualTo(1);
    }

    @ParameterizedTest
    @CsvSource({"0x4, must be hosts x ranks of each", "2x0, must be hosts x ranks of each",
            "2, must be hosts x ranks of each", "2x-1, must be hosts x ranks of each", "2x9, at most 8 ranks on each",
            "9x8, at most 64 ranks"})
    void whatCannotBeIsRefusedInWords(String teams, String words) {
        assertThatThrownBy(() -> check("--teams", teams)).isInstanceOf(ParameterException.class)
                .hasMessageContaining("--teams " + teams).hasMessageContaining(words);
    }

    @Test
    void ranksThatTheTeamsDoNotDivideAreRefused() {
        assertThatThrownBy(() -> check("--teams", "2x4", "--ranks", "6")).isInstanceOf(ParameterException.class)
                .hasMessage("--teams 2x4 has 8 ranks, and --ranks says 6");
    }

    private static void use(Backend backend, String... arguments) {
        Ranks ranks = new Ranks();
        CommandLine command = new CommandLine(ranks);
        command.parseArgs(arguments);
        ranks.option.use(backend, new Usage(command.getCommandSpec()));
    }

    @Test
    void teamsOfTheRealLibrariesAreMadeByVariables() {
        assertThatThrownBy(() -> use(Backend.NATIVE, "--teams", "2x4")).isInstanceOf(ParameterException.class)
                .hasMessageStartingWith("--teams 2x4: with the real libraries set NCCL_LSA_TEAM_SIZE=4: ")
                .hasMessageEndingWith("native/rma-local/README.md");
        assertThatThrownBy(() -> use(Backend.NATIVE, "--share-device")).isInstanceOf(ParameterException.class)
                .hasMessageStartingWith("--share-device: with the real libraries set NCCL_MULTI_RANK_GPU_ENABLE=1: ");
    }

    @Test
    void variablesThatAreSetAreNotAskedFor() {
        Map<String, String> all = new HashMap<>(Map.of("NCCL_LSA_TEAM_SIZE", "1", "NCCL_MULTI_RANK_GPU_ENABLE", "1",
                "NCCL_RMA_PLUGIN", "a.so", "NCCL_GIN_TYPE", "2", "NCCL_RMA_DISABLE", "1", "CUDA_DEVICE_MAX_CONNECTIONS",
                "32", "NCCL_EP_COMM_SMS", "16", "LD_PRELOAD", "b.so"));
        all.putAll(Map.of("NCCL_EP_SHUFFLE_SMS", "16", "NCCL_EP_PREPROCESS_NUM_SMS", "16"));
        assertThat(OneHostTeams.missing(all, 2, 1, true)).isEmpty();
        assertThat(OneHostTeams.advised(all, 2, true)).isEmpty();
        assertThat(OneHostTeams.missing(all, 2, 2, false)).containsExactly("NCCL_LSA_TEAM_SIZE=2");
        assertThat(OneHostTeams.missing(Map.of(), 1, 0, false)).isEmpty();
        assertThat(OneHostTeams.advised(Map.of("NCCL_GIN_TYPE", "3"), 2, false)).containsExactly(
                "NCCL_RMA_PLUGIN=libnccl4j_rma_local.so", "NCCL_GIN_TYPE=2", "NCCL_RMA_DISABLE=1",
                "LD_PRELOAD=libnccl4j_one_host.so");
    }

    @Test
    void hostsOfTheEmulatorAreMadeOfDevices() {
        assertThatThrownBy(() -> use(Backend.EMULATOR, "--teams", "2x4", "--share-device"))
                .isInstanceOf(ParameterException.class).hasMessageContaining("makes hosts of devices");
    }
}
