package io.nccl4j.benchmarks.stats;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.List;
import org.junit.jupiter.api.Test;

class MedianTest {
    @Test
    void isTheMiddleOneOrTheMeanOfTheTwoInTheMiddle() {
        assertThat(Median.of(7)).isEqualTo(7);
        assertThat(Median.of(9, 1, 2)).isEqualTo(2);
        assertThat(Median.of(100, 1, 2, 4)).isEqualTo(3);
    }

    @Test
    void leavesItsArgumentsAlone() {
        double[] values = {3, 1, 2};
        Median.of(values);
        assertThat(values).containsExactly(3, 1, 2);
    }

    @Test
    void refusesNothing() {
        assertThatIllegalArgumentException().isThrownBy(Median::of);
    }

    @Test
    void spansReachFromTheFirstStartToTheLastEnd() {
        assertThat(Span.seconds(List.of(new Span(1_000_000_000, 2_000_000_000), new Span(500_000_000, 1_500_000_000))))
                .isEqualTo(1.5);
    }
}
