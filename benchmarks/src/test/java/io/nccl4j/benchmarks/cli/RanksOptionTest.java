package io.nccl4j.benchmarks.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.Backend;
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

    @Test
    void hostsAreMadeOnTheEmulatorOnly() {
        Ranks ranks = new Ranks();
        CommandLine command = new CommandLine(ranks);
        command.parseArgs("--teams", "2x4");
        assertThatThrownBy(() -> ranks.option.use(Backend.NATIVE, new Usage(command.getCommandSpec())))
                .isInstanceOf(ParameterException.class).hasMessageContaining("on the emulator only");
    }
}
