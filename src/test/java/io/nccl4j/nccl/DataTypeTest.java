package io.nccl4j.nccl;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.bindings.ncclep.NcclEp;
import java.util.Arrays;
import org.junit.jupiter.api.Test;

class DataTypeTest {
    @Test
    void codesAreThoseOfTheGeneratedConstants() {
        assertThat(Arrays.stream(DataType.values()).mapToInt(DataType::code)).containsExactly(Nccl.ncclInt8(),
                Nccl.ncclUint8(), Nccl.ncclInt32(), Nccl.ncclUint32(), Nccl.ncclInt64(), Nccl.ncclUint64(),
                Nccl.ncclFloat16(), Nccl.ncclFloat32(), Nccl.ncclFloat64(), Nccl.ncclBfloat16(), Nccl.ncclFloat8e4m3(),
                Nccl.ncclFloat8e5m2(), NcclEp.ncclFloat4x2());
        assertThat(DataType.values()).hasSize(Nccl.ncclNumTypes() + 1);
        assertThat(Arrays.stream(ReduceOp.values()).mapToInt(ReduceOp::code)).containsExactly(Nccl.ncclSum(),
                Nccl.ncclProd(), Nccl.ncclMax(), Nccl.ncclMin(), Nccl.ncclAvg());
        assertThat(ReduceOp.values()).hasSize(Nccl.ncclNumOps());
        assertThat(NcclResult.values()).hasSize(Nccl.ncclNumResults());
        for (NcclResult result : NcclResult.values()) {
            assertThat(NcclResult.of(result.code())).isSameAs(result);
        }
        assertThat(NcclResult.of(99)).isNull();
    }

    @Test
    void sizesAreInBytes() {
        assertThat(DataType.BFLOAT16.bytes(7168)).isEqualTo(14336);
        assertThat(DataType.FLOAT4X2.bytes(3584)).isEqualTo(3584);
        assertThat(DataType.INT64.bytes(0)).isZero();
        assertIllegalArgument(() -> DataType.INT64.bytes(-1), "-1 elements of INT64");
        assertIllegalArgument(() -> DataType.INT64.bytes(Long.MAX_VALUE / 4));
    }

    @Test
    void aUniqueIdHas128Bytes() {
        byte[] bytes = new byte[UniqueId.BYTES];
        bytes[5] = 42;
        UniqueId id = UniqueId.of(bytes);
        bytes[5] = 0;
        assertThat(id.toBytes()[5]).isEqualTo((byte) 42);
        assertThat(id).isEqualTo(UniqueId.of(id.toBytes())).hasSameHashCodeAs(UniqueId.of(id.toBytes()))
                .isNotEqualTo(UniqueId.of(bytes));
        assertIllegalArgument(() -> UniqueId.of(new byte[127]), "128 bytes, not 127");
    }

    @Test
    void optionsNameAllBrokenRulesTogether() {
        assertThatThrownBy(CommunicatorOptions.defaults().minCtas(0).clusterSize(9).trafficClass(-1)
                .limit(java.time.Duration.ZERO)::check).isInstanceOf(IllegalArgumentException.class)
                .hasMessage("minCtas is 0: must be at least 1; clusterSize is 9: must be 0 to 8; "
                        + "trafficClass is -1: must be at least 0; limit is PT0S: must be positive");
        assertThatThrownBy(CommunicatorOptions.defaults().minCtas(4).maxCtas(3)::check)
                .isInstanceOf(IllegalArgumentException.class).hasMessage("maxCtas is 3: must be at least 4");
    }
}
