package io.nccl4j.benchmarks.patterns;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.Backend;
import java.util.List;
import org.junit.jupiter.api.Test;

/** All patterns run with routed tokens, on the emulator, by the code that measures them on GPUs. */
class PatternTimeTest {
    @Test
    void everyPatternMovesTheRoutedTokens() {
        PatternShape shape = new PatternShape(8, 2, 512, 3);
        List<PatternTime> times = PatternTime.measure(Backend.EMULATOR, 2, shape, 4, 1, 10);
        assertThat(times).extracting(PatternTime::pattern).containsExactly(Patterns.values());
        assertThat(times).allSatisfy(time -> {
            assertThat(time.microsPerLayer()).isPositive();
            assertThat(time.hostMicrosPerLayer()).isPositive();
        });
    }
}
