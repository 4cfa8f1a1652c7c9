package io.nccl4j.benchmarks.cluster;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.oracle.NumberFormat;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class TokenPatternTest {
    private static final int HIDDEN = 256;

    @ParameterizedTest
    @EnumSource(names = {"BFLOAT16", "FLOAT16", "FLOAT32"})
    void rowsTellWhereTheyComeFrom(NumberFormat format) {
        TokenPattern pattern = new TokenPattern(format, HIDDEN);
        for (int rank = 0; rank < 64; rank += 9) {
            for (int token = 0; token < 16_384; token += 997) {
                assertThat(pattern.identify(pattern.row(rank, token))).isEqualTo(TokenPattern.key(rank, token));
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"BFLOAT16", "FLOAT16", "FLOAT32"})
    void anyChangedElementIsFound(NumberFormat format) {
        TokenPattern pattern = new TokenPattern(format, HIDDEN);
        for (int element = 0; element < HIDDEN; element++) {
            byte[] row = pattern.row(3, 77);
            format.set(row, element, format.get(row, element) + 1);
            assertThat(pattern.identify(row)).as("element %d", element).isNotEqualTo(TokenPattern.key(3, 77));
            assertThat(pattern.differsFrom(row, 3, 77, 1)).isEqualTo(element);
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"BFLOAT16", "FLOAT16", "FLOAT32"})
    void aSumMayBeRounded(NumberFormat format) {
        TokenPattern pattern = new TokenPattern(format, HIDDEN);
        byte[] row = pattern.row(5, 200);
        for (int element = 0; element < HIDDEN; element++) {
            format.set(row, element, 7 * format.get(row, element));
        }
        assertThat(pattern.differsFrom(row, 5, 200, 7)).isEqualTo(-1);
        assertThat(pattern.differsFrom(row, 5, 200, 8)).isNotEqualTo(-1);
    }
}
