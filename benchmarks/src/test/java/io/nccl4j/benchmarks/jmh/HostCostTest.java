package io.nccl4j.benchmarks.jmh;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;

class HostCostTest {
    /** The machine is twice as slow in the second round, and something disturbs the API in the third. */
    private static final HostCost COST = new HostCost("dispatch", List.of(new HostCost.Round(1, 5, 5.5, 0),
            new HostCost.Round(2, 10, 11, 0), new HostCost.Round(1, 5, 50, 0)));

    @Test
    void ratiosAreMediansOfTheRoundsRatios() {
        assertThat(COST.apiToBare()).isEqualTo(1.1);
        assertThat(COST.apiToC()).isEqualTo(5.5);
        assertThat(COST.bareToC()).isEqualTo(5);
    }

    @Test
    void timesAreMediansOfTheRounds() {
        assertThat(COST.c()).isEqualTo(1);
        assertThat(COST.bare()).isEqualTo(5);
        assertThat(COST.api()).isEqualTo(11);
    }
}
