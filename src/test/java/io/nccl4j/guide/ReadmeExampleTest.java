package io.nccl4j.guide;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.Layout;
import io.nccl4j.junit.EmulatedRanks;
import org.junit.jupiter.api.Test;

/** The README's example runs on the emulator. */
class ReadmeExampleTest {
    @Test
    @EmulatedRanks(4)
    void theExampleRuns(EmulatedCluster cluster) {
        EpGroupConfig config = EpGroupConfig.lowLatency().experts(GuideModel.EXPERTS)
                .maxTokensPerRank(GuideModel.MAX_TOKENS).maxTokenBytes(GuideModel.HIDDEN * 2)
                .layout(Layout.EXPERT_MAJOR).topK(GuideModel.TOP_K);
        cluster.run(rank -> {
            try (GuideModel model = new GuideModel(rank.device(), rank.rank())) {
                DecodeLoop.serve(rank.bootstrap(), config, GuideModel.HIDDEN, new OneLayer(model));
                assertThat(model.isDone()).isTrue();
            }
        });
    }
}
