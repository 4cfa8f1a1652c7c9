package io.nccl4j.bootstrap;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BootstrapOptionsTest {
    private static BootstrapOptions with(Map<String, String> environment, String... properties) {
        Properties told = new Properties();
        for (int i = 0; i < properties.length; i += 2) {
            told.setProperty(properties[i], properties[i + 1]);
        }
        return BootstrapOptions.from(environment, told);
    }

    @Test
    void whatIsNotSetComesFromTheEnvironment() {
        BootstrapOptions.Values none = with(Map.of()).checked();
        assertThat(none.limit()).isEqualTo(Duration.ofMinutes(5));
        assertThat(none.hasSecret()).isFalse();
        assertThat(none.job()).isEmpty();
        assertThat(none.localRank()).isNull();
        BootstrapOptions told = with(
                Map.of("NCCL4J_BOOTSTRAP_LIMIT_SECONDS", " 7 ", "NCCL4J_BOOTSTRAP_SECRET", "unspoken"));
        assertThat(told.checked().limit()).isEqualTo(Duration.ofSeconds(7));
        assertThat(told.checked().hasSecret()).isTrue();
        assertThat(told.secret("unspoken")).asString().doesNotContain("unspoken").contains("secret=set");
        assertThat(with(Map.of(), "nccl4j.bootstrap.limit.seconds", "8").checked().limit())
                .isEqualTo(Duration.ofSeconds(8));
    }

    @Test
    void allBrokenRulesAreToldTogether() {
        assertThatThrownBy(() -> with(Map.of()).limit(Duration.ZERO).localRank(-1).secret("").checked())
                .isInstanceOf(IllegalArgumentException.class).hasMessage("limit is PT0S: must be positive; "
                        + "local rank is -1: must be at least 0; the secret is empty: give it at least one character");
        assertIllegalArgument(() -> with(Map.of("NCCL4J_BOOTSTRAP_LIMIT_SECONDS", "soon")).localRank(-2).checked(),
                "is 'soon': must be a number of seconds", "rank is -2");
    }

    @Test
    void h15TheSecretComesFromAVariableOrAFile(@TempDir Path folder) throws Exception {
        Path file = Files.writeString(folder.resolve("secret"), "c\n");
        byte[] expected = with(Map.of()).secret("c").checked().key().proof(new byte[1]);
        assertThat(with(Map.of("NCCL4J_BOOTSTRAP_SECRET", "c")).checked().key().proof(new byte[1])).isEqualTo(expected);
        assertThat(with(Map.of("NCCL4J_BOOTSTRAP_SECRET_FILE", file.toString())).checked().key().proof(new byte[1]))
                .isEqualTo(expected);
        assertThat(with(Map.of()).secretFile(file).checked().key().proof(new byte[1])).isEqualTo(expected);
        assertIllegalArgument(() -> with(Map.of()).secretFile(folder.resolve("none")).secret("s").checked(),
                "give one");
        assertIllegalArgument(() -> with(Map.of()).secretFile(folder.resolve("none")).checked(),
                "cannot be read from " + folder);
    }

    @Test
    void h15TheSecretIsNoSystemProperty() {
        assertIllegalArgument(() -> with(Map.of(), "nccl4j.bootstrap.secret", "c").checked(),
                "every user of the machine", "NCCL4J_BOOTSTRAP_SECRET_FILE");
    }

    @Test
    void h15JobAndSecretDoNotRunIntoEachOther() {
        byte[] one = Secret.of("c", "a\nb").proof(new byte[1]);
        assertThat(Secret.of("b\nc", "a").proof(new byte[1])).isNotEqualTo(one);
        assertThat(Secret.of("c", "a\nb").proof(new byte[1])).isEqualTo(one);
        assertThat(Secret.of(null, "a\nbc").proof(new byte[1])).isNotEqualTo(one);
        assertThat(Secret.of("c", "a\nb").proof(new byte[]{1, 2}))
                .isNotEqualTo(Secret.of("c", "a\nb").proof(new byte[]{1}, new byte[]{2}));
    }
}
