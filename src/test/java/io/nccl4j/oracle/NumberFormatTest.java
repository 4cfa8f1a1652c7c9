package io.nccl4j.oracle;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.SplittableRandom;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;

class NumberFormatTest {

    @ParameterizedTest
    @EnumSource(mode = Mode.EXCLUDE, names = "FLOAT32")
    void everyEncodingSurvivesDecodingAndEncoding(NumberFormat format) {
        for (int bits = 0; bits < 1 << 8 * format.bytes(); bits++) {
            float value = format.decode(bits);
            boolean saturates = format.bytes() == 1 && Float.isInfinite(value);
            if (!Float.isNaN(value) && !saturates) {
                assertThat(format.encode(value)).as("%s %x", format, bits).isEqualTo(bits);
            }
        }
    }

    @ParameterizedTest
    @EnumSource(mode = Mode.EXCLUDE, names = "FLOAT32")
    void roundsToTheNearestNeighbourAndTiesToEven(NumberFormat format) {
        int finite = 0;
        while (Float.isFinite(format.decode(finite))) {
            finite++;
        }
        for (int bits = 0; bits < finite - 1; bits++) {
            float low = format.decode(bits);
            float high = format.decode(bits + 1);
            // Exact: neighbours share a binade or touch, so their mean needs one more bit than either, and float has
            // it.
            float middle = low / 2 + high / 2;
            assertThat(format.encode(middle)).as("tie above %x", bits).isEqualTo(bits + (bits & 1));
            assertThat(format.encode(Math.nextDown(middle))).as("below the tie above %x", bits).isEqualTo(bits);
            assertThat(format.encode(Math.nextUp(middle))).as("above the tie above %x", bits).isEqualTo(bits + 1);
        }
    }

    @ParameterizedTest
    @EnumSource
    void signsAreSymmetric(NumberFormat format) {
        SplittableRandom random = new SplittableRandom(7);
        int sign = 1 << 8 * format.bytes() - 1;
        for (int i = 0; i < 100_000; i++) {
            float value = Float.intBitsToFloat(random.nextInt() & 0x7fffffff);
            if (!Float.isNaN(value)) {
                assertThat(format.encode(-value)).as("%s", value).isEqualTo(format.encode(value) | sign);
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"BFLOAT16, 1.0, 3f80", "BFLOAT16, 3.4e38, 7f80", "FLOAT16, 65519.0, 7bff", "FLOAT16, 65520.0, 7c00",
            "FLOAT16, 5.9604645e-8, 0001", "FLOAT8_E4M3, 448.0, 7e", "FLOAT8_E4M3, 1e9, 7e",
            "FLOAT8_E4M3, Infinity, 7e", "FLOAT8_E4M3, 0.001953125, 01", "FLOAT8_E4M3, 1.0, 38", "FLOAT8_E4M3, NaN, 7f",
            "FLOAT8_E5M2, 57344.0, 7b", "FLOAT8_E5M2, 1e9, 7b", "FLOAT8_E5M2, 1.0, 3c"})
    void knownValues(NumberFormat format, float value, String bits) {
        assertThat(format.encode(value)).isEqualTo(Integer.parseInt(bits, 16));
    }

    @ParameterizedTest
    @EnumSource
    void rowsKeepTheOrderOfElements(NumberFormat format) {
        float[] values = {1, -2, 0.5f, 448};
        byte[] row = format.encodeRow(values);
        assertThat(row).hasSize(values.length * format.bytes());
        assertThat(format.decodeRow(row)).isEqualTo(values);
    }
}
