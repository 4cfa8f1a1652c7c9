package io.nccl4j.benchmarks.cluster;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.benchmarks.layer.Traffic;
import io.nccl4j.testing.LayerKind;
import java.util.List;
import org.junit.jupiter.api.Test;

class FiguresTest {
    private static final int ITERATIONS = 100;
    private static final LayerShape SHAPE = LayerShape.bfloat16(LayerKind.LL_EXPERT_MAJOR, 2, 8, 8, 128, 7168);

    /** Rank 0 takes 1 to 100 microseconds for dispatch, rank 1 always 100; nobody has times for both together. */
    private static List<Samples> samples() {
        Samples first = new Samples(ITERATIONS);
        Samples second = new Samples(ITERATIONS);
        for (int i = 0; i < ITERATIONS; i++) {
            first.put(Operation.DISPATCH, i, (i + 1) / 1000f);
            second.put(Operation.DISPATCH, i, 0.1f);
            first.put(Operation.COMBINE, i, 0.05f);
            second.put(Operation.COMBINE, i, 0.05f);
        }
        return List.of(first, second);
    }

    private static List<Figures> figures() {
        return Figures.of(SHAPE, CallMode.EAGER, new Traffic(SHAPE, SHAPE.routing(true, 1)), samples());
    }

    @Test
    void percentilesAreOfAllRanksAndIterations() {
        Figures dispatch = figures().getFirst();
        assertThat(dispatch.p50Micros()).isCloseTo(100, within(0.2));
        assertThat(dispatch.p90Micros()).isCloseTo(100, within(0.2));
        assertThat(dispatch.maxMicros()).isCloseTo(100, within(0.2));
        assertThat(dispatch.meanMicros()).isCloseTo((50.5 + 100) / 2, within(0.2));
    }

    @Test
    void bandwidthIsARanksBytesByItsMeanTime() {
        Figures dispatch = figures().getFirst();
        // Every token has experts on both ranks.
        double bytes = 128 * 2 * 7168 * 2;
        assertThat(dispatch.megabytes()).isCloseTo(bytes / 1e6, within(1e-6));
        assertThat(dispatch.fastestGigabytesPerSecond()).isCloseTo(bytes / 50.5e-6 / 1e9, within(0.1));
        assertThat(dispatch.slowestGigabytesPerSecond()).isCloseTo(bytes / 100e-6 / 1e9, within(0.1));
        assertThat(dispatch.gigabytesPerSecond()).isCloseTo(
                (dispatch.fastestGigabytesPerSecond() + dispatch.slowestGigabytesPerSecond()) / 2, within(0.1));
    }

    @Test
    void whatWasNotMeasuredHasNoLine() {
        assertThat(figures()).extracting(Figures::operation).containsExactly("dispatch", "combine");
    }

    @Test
    void samplesTravel() {
        for (Samples mine : samples()) {
            Samples theirs = Samples.decode(mine.encode(), ITERATIONS);
            for (Operation operation : Operation.values()) {
                assertThat(theirs.of(operation)).containsExactly(mine.of(operation));
            }
        }
    }

    @Test
    void jsonHasAllFigures() {
        JsonObject line = JsonParser.parseString(ClusterReport.of(ClusterOptions.Format.JSON, figures()))
                .getAsJsonObject().getAsJsonArray("figures").get(1).getAsJsonObject();
        assertThat(line.get("operation").getAsString()).isEqualTo("combine");
        assertThat(line.get("p50Micros").getAsDouble()).isCloseTo(50, within(0.1));
        assertThat(line.keySet()).hasSize(Figures.class.getRecordComponents().length);
    }

    @Test
    void csvHasOneColumnPerFigure() {
        List<String> lines = ClusterReport.of(ClusterOptions.Format.CSV, figures()).lines().toList();
        assertThat(lines).hasSize(3);
        assertThat(lines.getFirst()).startsWith("algorithm,layout,mode,operation,ranks,tokens,p50Micros");
        assertThat(lines.get(1)).startsWith("ll,expert_major,eager,dispatch,2,128,100.0");
        assertThat(lines).allMatch(line -> line.split(",").length == Figures.class.getRecordComponents().length);
    }
}
