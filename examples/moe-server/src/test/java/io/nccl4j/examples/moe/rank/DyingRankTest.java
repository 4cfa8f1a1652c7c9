package io.nccl4j.examples.moe.rank;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.Backend;
import io.nccl4j.examples.moe.serve.Engine;
import io.nccl4j.examples.moe.serve.Metrics;
import io.nccl4j.examples.moe.serve.Sequence;
import io.nccl4j.examples.moe.serve.ServeLimits;
import io.nccl4j.examples.moe.step.RankOptions;
import io.nccl4j.examples.moe.step.StepMode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Ranks as processes, of which one is killed while all of them decode. */
@Timeout(120)
class DyingRankTest {
    private static final Duration LIMIT = Duration.ofSeconds(60);
    private static final int COUNT = 30;

    @Test
    void theOthersGoOn() throws Exception {
        RankOptions options = new RankOptions("tiny", 0, 1, 2, 4, 4, 128, StepMode.GRAPH, false, 3000);
        List<Rank> ranks = Ranks.processes(options, Backend.EMULATOR, LIMIT);
        Engine engine = new Engine(options, new ServeLimits(10, 4, LIMIT), ranks, new Metrics());
        List<Sequence> sequences = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            sequences.add(new Sequence(new int[]{1 + i, 2, 3}, COUNT, 0, 0, Set.of()));
            engine.submit(sequences.getLast());
        }
        Sequence.Event first = sequences.getLast().events().poll(60, TimeUnit.SECONDS);
        assertThat(first).isNotNull();
        ProcessHandle.of(((ProcessRank) ranks.get(1)).pid()).orElseThrow().destroyForcibly();
        int tokens = 1;
        for (Sequence sequence : sequences) {
            Sequence.Event event;
            do {
                event = sequence.events().poll(60, TimeUnit.SECONDS);
                assertThat(event).isNotNull();
                tokens++;
            } while (event.end() == null);
            assertThat(event.end()).isEqualTo(Sequence.End.LENGTH);
        }
        assertThat(tokens).isEqualTo(4 * COUNT);
        assertThat(engine.liveRanks()).isEqualTo(1);
        assertThat(engine.lostRanks()).containsOnlyKeys(1);
        engine.close(LIMIT);
        assertThat(ranks.getFirst().join(LIMIT)).isTrue();
    }
}
