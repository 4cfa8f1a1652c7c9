package io.nccl4j.safety;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpGenerationProbe;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.libraries.LibraryProbe;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.NcclException;
import io.nccl4j.nccl.NcclResult;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.processes.ChildJvm;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Failure modes of the native library itself, numbered as in docs/failure-modes.md. */
@EmulatedRanks(1)
class LibraryFailureModesTest {
    private static final int RANKS = 2;
    private static final int REPLAYS = 50;

    /** A mistake of each kind that ends the process in the library; {@code RulesTest} has all rules. */
    @EachLayerKind
    @EmulatedRanks(RANKS)
    void f11WhatWouldEndTheProcessIsAnException(LayerKind shape, EmulatedCluster cluster) {
        int before = Emulator.misuses().size();
        EpCase model = shape.draw(RANKS, 801);
        MoeRank.run(cluster, shape, model, (world, layer) -> {
            int most = layer.buffers().maxTokens();
            int topK = layer.handle().topK();
            int hidden = world.rows().hidden();
            DeviceMemory memory = world.own(DeviceMemory.allocate(world.device(), 1 << 16));
            DeviceMemory small = world.own(memory.slice(8, 256));
            EpTensor narrow = EpTensor.of(memory, DataType.BFLOAT16, 1, hidden / 2 + 1);
            EpTensor halves = EpTensor.of(memory, DataType.FLOAT16, 1, hidden);
            DispatchOutputs received = DispatchOutputs.of(layer.buffers().received());
            layer.handle().update(TensorRows.of(layer.buffers().routing(), 1), world.stream());
            List<Runnable> mistakes = List.of(
                    () -> EpGroup.create(world.communicator(), shape.config(model).experts(RANKS * topK + 1)),
                    () -> world.group().createHandle(shape.layout(), 0, HandleConfig.defaults()),
                    () -> world.group().createHandle(shape.layout(), topK, HandleConfig.defaults().memory(small)),
                    () -> layer.handle().update(EpTensor.of(memory, DataType.INT64, 1, topK + 1), world.stream()),
                    () -> layer.handle().update(EpTensor.of(memory, DataType.FLOAT32, 1, topK), world.stream()),
                    () -> layer.handle().update(EpTensor.of(memory, DataType.INT64, most + 1, topK), world.stream()),
                    () -> layer.handle().dispatch(DispatchInputs.of(narrow), received, null, world.stream()),
                    () -> layer.handle().dispatch(DispatchInputs.of(TensorRows.of(layer.buffers().tokens(), 0)),
                            received, LayoutInfo.of(narrow), world.stream()),
                    () -> layer.handle().combine(CombineInputs.of(narrow), CombineOutputs.of(halves), world.stream()),
                    () -> layer.handle().combine(CombineInputs.of(layer.buffers().expertOutputs()),
                            CombineOutputs.of(halves), world.stream()));
            for (Runnable mistake : mistakes) {
                Throwable thrown = catchThrowable(mistake::run);
                assertThat(thrown)
                        .as("mistake %d", mistakes.indexOf(mistake)).isInstanceOfAny(IllegalArgumentException.class,
                                IllegalStateException.class, UnsupportedOperationException.class)
                        .hasMessageMatching("(?s).{20,}");
            }
            layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 802));
        });
        assertThat(Emulator.misuses()).hasSize(before);
    }

    @Test
    @Timeout(120)
    void f15ALibraryThatDoesNotFitIsNamedWithItsPlaceAndTheLinkersWords(@TempDir Path folder) throws Exception {
        Path broken = Files.writeString(folder.resolve("libcudart.so.13"), "another thing of this name");
        try (ChildJvm child = ChildJvm.start(LibraryProbe.class,
                Map.of("JDK_JAVA_OPTIONS", "-Dnccl4j.library.path=" + folder))) {
            String said = child.awaitEnd();
            assertThat(said).contains("backend: NATIVE", "available: false", broken + ": ", "dynamic linker's path")
                    .containsAnyOf("file too short", "invalid ELF header");
            assertThat(child.exitCode()).isZero();
        }
    }

    /** The kernels of a shape are compiled by the library at their first use, which warming up brings forward. */
    @EachLayerKind
    void f16AKernelThatCannotBeCompiledIsAnExceptionBeforeTheCapture(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(1, 803), (world, layer) -> {
            Emulator.presetResult("ncclEpDispatch", NcclResult.INTERNAL_ERROR.code());
            assertThatThrownBy(() -> layer.handle().warmUp(layer.buffers(), 1, world.stream()))
                    .isInstanceOfSatisfying(NcclException.class,
                            e -> assertThat(e.result()).isEqualTo(NcclResult.INTERNAL_ERROR))
                    .hasMessageContaining("ncclEpDispatch").hasMessageContaining("ncclInternalError");
            world.await();
            layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 804));
        });
    }

    @EachLayerKind
    void f22AReplayIsOneNativeCallThatNeitherWaitsNorAllocates(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(1, 805), (world, layer) -> {
            try (CudaGraphExec exec = layer.capture(layer.buffers().maxTokens())) {
                exec.launch(world.stream());
                world.await();
                EmulatorUsage before = Emulator.usage();
                long calls = Emulator.callCount();
                for (int replay = 0; replay < REPLAYS; replay++) {
                    exec.launch(world.stream());
                }
                assertThat(Emulator.callCount() - calls).isEqualTo(REPLAYS);
                assertThat(Emulator.usage().hostWaits()).isEqualTo(before.hostWaits());
                assertThat(Emulator.usage().leakedSince(before)).isEmpty();
                world.await();
            }
        });
    }

    /** With it go F4, one live handle per group, and F5, the parity of captured operations. */
    @Test
    void f05ApiVersion1IsRefusedInOneSentence() throws Exception {
        String library = System.getProperty("nccl4j.test.libraries") + "/libapi_version_1.so";
        try (ChildJvm jvm = ChildJvm.start(EpGenerationProbe.class,
                Map.of("JDK_JAVA_OPTIONS", "-Dnccl4j.cudart.library=" + library + " -Dnccl4j.nccl.library=" + library
                        + " -Dnccl4j.nccl_ep.library=" + library))) {
            assertThat(jvm.awaitEnd().lines().filter(line -> line.startsWith("refused: "))).singleElement().asString()
                    .contains("API version 1", "install NCCL EP of NVIDIA/nccl-extensions");
        }
    }
}
