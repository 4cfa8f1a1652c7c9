package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.oracle.NumberFormat;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.Test;

class NumberConversionTest {
    @Test
    void everyBfloat16SurvivesTheWayThereAndBack() {
        for (int bits = 0; bits < 1 << 16; bits++) {
            float value = BFloat16.toFloat((short) bits);
            if (Float.isNaN(value)) {
                assertThat(Float.isNaN(BFloat16.toFloat(BFloat16.fromFloat(value)))).isTrue();
            } else {
                assertThat(BFloat16.fromFloat(value) & 0xffff).isEqualTo(bits);
            }
        }
    }

    @Test
    void tiesGoToEven() {
        assertThat(BFloat16.fromFloat(Float.intBitsToFloat(0x3f80_8000)) & 0xffff).isEqualTo(0x3f80);
        assertThat(BFloat16.fromFloat(Float.intBitsToFloat(0x3f81_8000)) & 0xffff).isEqualTo(0x3f82);
        assertThat(BFloat16.fromFloat(Float.intBitsToFloat(0x3f80_8001)) & 0xffff).isEqualTo(0x3f81);
        assertThat(BFloat16.fromFloat(Float.MAX_VALUE) & 0xffff).isEqualTo(0x7f80);
        assertThat(BFloat16.fromFloat(-0f) & 0xffff).isEqualTo(0x8000);
    }

    @Test
    void rowsMatchTheOracle() {
        float[] values = new float[1000];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) (Math.sin(i) * Math.pow(10, i % 9 - 4));
        }
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment rows = arena.allocate(2L * 1003, 2);
            BFloat16.write(values, rows, 3);
            assertThat(rows.asSlice(6).toArray(ValueLayout.JAVA_BYTE))
                    .isEqualTo(NumberFormat.BFLOAT16.encodeRow(values));
            float[] back = new float[1000];
            BFloat16.read(rows, 3, back);
            assertThat(back).isEqualTo(NumberFormat.BFLOAT16.decodeRow(NumberFormat.BFLOAT16.encodeRow(values)));
            Float16.write(values, rows, 3);
            assertThat(rows.asSlice(6).toArray(ValueLayout.JAVA_BYTE))
                    .isEqualTo(NumberFormat.FLOAT16.encodeRow(values));
            Float16.read(rows, 3, back);
            assertThat(back).isEqualTo(NumberFormat.FLOAT16.decodeRow(NumberFormat.FLOAT16.encodeRow(values)));
        }
    }
}
