package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpCombineConfig_t;
import io.nccl4j.bindings.ncclep.ncclEpCombineInputs_t;
import io.nccl4j.bindings.ncclep.ncclEpCombineOutputs_t;
import io.nccl4j.bindings.ncclep.ncclEpDispatchConfig_t;
import io.nccl4j.bindings.ncclep.ncclEpDispatchInputs_t;
import io.nccl4j.bindings.ncclep.ncclEpDispatchOutputs_t;
import io.nccl4j.bindings.ncclep.ncclEpGroupConfig_t;
import io.nccl4j.bindings.ncclep.ncclEpHandleConfig_t;
import io.nccl4j.bindings.ncclep.ncclEpLayoutInfo_t;
import io.nccl4j.bindings.ncclep.ncclEpTensor_t;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.CommunicatorRun;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.Window;
import java.lang.foreign.Arena;
import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;
import java.time.Duration;
import java.util.Arrays;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

/**
 * Every field of every struct of NCCL EP can be given a value through the public API; those of padding mean nothing.
 */
class StructFieldsTest {
    private static final long SOME_ADDRESS = 0x1000;

    private static Set<String> fields(GroupLayout layout) {
        Set<String> names = new TreeSet<>();
        layout.memberLayouts().forEach(member -> member.name().filter(name -> !name.startsWith("padding"))
                .ifPresent(name -> addFields(names, name, member)));
        return names;
    }

    private static void addFields(Set<String> names, String name, MemoryLayout member) {
        if (member instanceof GroupLayout nested) {
            fields(nested).forEach(field -> names.add(name + "." + field));
        } else {
            names.add(name);
        }
    }

    /** The fields of a struct that are not zero. */
    private static Set<String> given(GroupLayout layout, long address) {
        MemorySegment struct = MemorySegment.ofAddress(address).reinterpret(layout.byteSize());
        Set<String> names = fields(layout);
        names.removeIf(name -> {
            PathElement[] path = Arrays.stream(name.split("\\.")).map(PathElement::groupElement)
                    .toArray(PathElement[]::new);
            MemorySegment field = struct.asSlice(layout.byteOffset(path), layout.select(path).byteSize());
            return field.mismatch(MemorySegment.ofArray(new byte[(int) field.byteSize()])) < 0;
        });
        return names;
    }

    private static EpGroupConfig sized(EpGroupConfig config) {
        return config.experts(4).maxTokensPerRank(8).maxTokenBytes(1024).topK(2);
    }

    @Test
    void ofTheGroup() {
        EpGroupConfig staged = sized(EpGroupConfig.lowLatency()).layout(Layout.EXPERT_MAJOR).rdmaBufferBytes(1 << 20)
                .queuePairs(3).channels(4).maxSms(5).mask().timeout(Duration.ofSeconds(1))
                .allocator(SOME_ADDRESS, SOME_ADDRESS, SOME_ADDRESS);
        EpGroupConfig budget = sized(EpGroupConfig.highThroughput()).maxReceiveRows(64).zeroCopy(ZeroCopy.ON)
                .overflow(OverflowPolicy.DROP);
        EpGroupConfig eager = sized(EpGroupConfig.highThroughput()).eager();
        Set<String> given = new TreeSet<>();
        try (Arena arena = Arena.ofConfined()) {
            for (EpGroupConfig config : new EpGroupConfig[]{staged, budget, eager}) {
                given.addAll(given(ncclEpGroupConfig_t.layout(),
                        GroupStruct.encode(GroupShape.of(config, 1, 1, DeviceLimits.ANY), null, arena).address()));
            }
        }
        assertThat(given).isEqualTo(fields(ncclEpGroupConfig_t.layout())).contains("alloc.context", "num_topk");
    }

    @Test
    void ofConfigurations() {
        DispatchConfig dispatch = DispatchConfig.defaults().sendOnly().roundScales(true)
                .direction(PassDirection.BACKWARD).recipe(DispatchRecipe.DS_FP8E3M4);
        CombineConfig combine = CombineConfig.defaults().sendOnly().direction(PassDirection.BACKWARD)
                .recipe(CombineRecipe.NVFP4);
        assertThat(given(ncclEpDispatchConfig_t.layout(), dispatch.address()))
                .isEqualTo(fields(ncclEpDispatchConfig_t.layout()));
        assertThat(given(ncclEpCombineConfig_t.layout(), combine.address()))
                .isEqualTo(fields(ncclEpCombineConfig_t.layout()));
        try (Arena arena = Arena.ofConfined()) {
            assertThat(given(ncclEpHandleConfig_t.layout(), HandleConfig.encode(8, arena).address()))
                    .isEqualTo(fields(ncclEpHandleConfig_t.layout()));
        }
    }

    @Test
    @EmulatedRanks(1)
    void ofTensorsAndWhatPointsToThem(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            try (DeviceMemory memory = communicator.allocate(4096); Window window = communicator.register(memory)) {
                EpTensor a = EpTensor.of(memory, DataType.FLOAT32, 4, 4);
                EpTensor b = EpTensor.inWindow(window.slice(64, 256), DataType.FLOAT32, 4, 4);
                Set<String> tensor = given(ncclEpTensor_t.layout(), a.descriptor());
                tensor.addAll(given(ncclEpTensor_t.layout(), b.descriptor()));
                assertThat(tensor).isEqualTo(fields(ncclEpTensor_t.layout()));
                EpStruct[] structs = {DispatchInputs.of(a, b, a), DispatchOutputs.of(a, b, a, b),
                        CombineInputs.of(a, b, a), CombineOutputs.of(a, b), LayoutInfo.empty().expertCounters(a)
                                .sourceRankCounters(b).expertOffsets(a).receivedTotal(b).expertIds(ExpertIds.GLOBAL)};
                GroupLayout[] layouts = {ncclEpDispatchInputs_t.layout(), ncclEpDispatchOutputs_t.layout(),
                        ncclEpCombineInputs_t.layout(), ncclEpCombineOutputs_t.layout(), ncclEpLayoutInfo_t.layout()};
                for (int i = 0; i < structs.length; i++) {
                    assertThat(given(layouts[i], structs[i].address())).isEqualTo(fields(layouts[i]));
                    Reference.reachabilityFence(structs[i]);
                }
            }
        });
    }

    /** The other structs have no field but size and magic, and no structs are passed that are not here. */
    @Test
    void thereAreNoOthers() {
        assertThat(NcclEp.NCCL_EP_TENSOR_ALLOC_CONFIG_V1_SIZE()).isEqualTo(8);
        assertThat(NcclEp.NCCL_EP_COMPLETE_CONFIG_V1_SIZE()).isEqualTo(8);
    }
}
