package io.nccl4j.guide;

import static org.assertj.core.api.Assertions.assertThat;

import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Timer;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.Layout;
import io.nccl4j.junit.EmulatedRanks;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import jdk.jfr.consumer.RecordingStream;
import org.junit.jupiter.api.Test;

/** The recipe of docs/observability.md counts what a server does. */
class ObservabilityGuideTest {
    // example micrometer
    /** Meters of nccl4j's events until the stream is closed: calls by function, errors, life cycle. */
    static RecordingStream measure(MeterRegistry registry) {
        RecordingStream events = new RecordingStream();
        events.enable("io.nccl4j.Call").withoutThreshold();
        events.enable("io.nccl4j.Error");
        events.enable("io.nccl4j.Lifecycle");
        events.onEvent("io.nccl4j.Call", event -> registry.timer("nccl4j.call", "function", event.getString("function"))
                .record(event.getDuration()));
        events.onEvent("io.nccl4j.Error", event -> registry.counter("nccl4j.error", "function",
                event.getString("function"), "code", String.valueOf(event.getInt("code"))).increment());
        events.onEvent("io.nccl4j.Lifecycle",
                event -> registry.counter("nccl4j.lifecycle", "action", event.getString("action")).increment());
        events.setMaxAge(Duration.ofSeconds(10));
        events.startAsync();
        return events;
    }
    // end

    @Test
    @EmulatedRanks(4)
    void theMetersCount(EmulatedCluster cluster) {
        EpGroupConfig config = EpGroupConfig.lowLatency().experts(GuideModel.EXPERTS)
                .maxTokensPerRank(GuideModel.MAX_TOKENS).maxTokenBytes(GuideModel.HIDDEN * 2)
                .layout(Layout.EXPERT_MAJOR).topK(GuideModel.TOP_K);
        MeterRegistry registry = new SimpleMeterRegistry();
        try (RecordingStream events = measure(registry)) {
            cluster.run(rank -> {
                try (GuideModel model = new GuideModel(rank.device(), rank.rank())) {
                    DecodeLoop.serve(rank.bootstrap(), config, GuideModel.HIDDEN, new OneLayer(model));
                }
            });
            events.stop();
        }
        Timer launches = registry.get("nccl4j.call").tag("function", "cudaGraphLaunch").timer();
        assertThat(launches.count()).isEqualTo(4 * 20);
        assertThat(launches.totalTime(TimeUnit.NANOSECONDS)).isPositive();
        assertThat(registry.get("nccl4j.lifecycle").tag("action", "create").counter().count()).isPositive();
        assertThat(registry.find("nccl4j.error").counters()).isEmpty();
    }
}
