package io.nccl4j.examples.moe.serve;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.examples.moe.rank.Rank;
import io.nccl4j.examples.moe.rank.RankCommand;
import io.nccl4j.examples.moe.step.RankOptions;
import io.nccl4j.examples.moe.step.StepMode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class EngineTest {
    private static final Duration LIMIT = Duration.ofSeconds(10);

    private static Engine engine(int slots, int queue, Rank... ranks) {
        RankOptions options = new RankOptions("tiny", 0, 1, ranks.length, 8, slots, 128, StepMode.GRAPH, false, 1000);
        return new Engine(options, new ServeLimits(queue, 5, LIMIT), new ArrayList<>(List.of(ranks)), new Metrics());
    }

    private static Sequence sequence(int[] prompt, int count) {
        return new Sequence(prompt, count, 0, 0, Set.of());
    }

    private static List<Integer> tokens(Sequence sequence, Sequence.End end) throws InterruptedException {
        List<Integer> tokens = new ArrayList<>();
        while (true) {
            Sequence.Event event = sequence.events().poll(LIMIT.toSeconds(), TimeUnit.SECONDS);
            assertThat(event).as("event after %s", tokens).isNotNull();
            if (event.token() >= 0) {
                tokens.add(event.token());
            }
            if (event.end() != null) {
                assertThat(event.end()).isEqualTo(end);
                return tokens;
            }
        }
    }

    @Test
    void batchesSequencesOfAllLengthsWithoutMixingThem() throws Exception {
        long seed = System.nanoTime();
        Random random = new Random(seed);
        ScriptedRank first = ScriptedRank.of(0);
        ScriptedRank second = ScriptedRank.of(1);
        Engine engine = engine(4, 100, first, second);
        List<int[]> prompts = new ArrayList<>();
        List<Sequence> sequences = new ArrayList<>();
        for (int i = 0; i < 60; i++) {
            int[] prompt = random.ints(1 + random.nextInt(30), 0, ScriptedRank.VOCABULARY).toArray();
            prompts.add(prompt);
            sequences.add(sequence(prompt, 1 + random.nextInt(40)));
            engine.submit(sequences.getLast());
        }
        for (int i = 0; i < sequences.size(); i++) {
            List<Integer> tokens = tokens(sequences.get(i), Sequence.End.LENGTH);
            assertThat(tokens).as("seed %d, sequence %d", seed, i)
                    .isEqualTo(ScriptedRank.expected(prompts.get(i), tokens.size()));
        }
        engine.close(LIMIT);
        assertThat(first.rowsOfSteps).hasSameSizeAs(second.rowsOfSteps)
                .allSatisfy(rows -> assertThat(rows).isLessThan(9));
    }

    @Test
    void sequencesOfALostRankBeginAnewOnTheOthers() throws Exception {
        ScriptedRank survivor = ScriptedRank.of(0);
        ScriptedRank dying = new ScriptedRank(1, 7);
        Engine engine = engine(4, 100, survivor, dying);
        int[][] prompts = {{1, 2, 3}, {4, 5}, {6}, {7, 8, 9, 10}};
        List<Sequence> sequences = new ArrayList<>();
        for (int[] prompt : prompts) {
            sequences.add(sequence(prompt, 20));
            engine.submit(sequences.getLast());
        }
        for (int i = 0; i < prompts.length; i++) {
            assertThat(tokens(sequences.get(i), Sequence.End.LENGTH)).isEqualTo(ScriptedRank.expected(prompts[i], 20));
        }
        assertThat(engine.liveRanks()).isEqualTo(1);
        assertThat(engine.lostRanks()).containsEntry(1, "rank 1 is gone");
        assertThat(survivor.commands).contains(new RankCommand.LeaveOut(Set.of(1)));
        engine.close(LIMIT);
    }

    @Test
    void withoutRanksSequencesAreAbortedAndRefused() throws Exception {
        Engine engine = engine(4, 100, new ScriptedRank(0, 3));
        Sequence sequence = sequence(new int[]{5}, 20);
        engine.submit(sequence);
        assertThat(tokens(sequence, Sequence.End.ABORTED)).isEqualTo(ScriptedRank.expected(new int[]{5}, 3));
        assertThatThrownBy(() -> engine.submit(sequence(new int[]{1}, 1))).isInstanceOf(EngineException.class);
        engine.close(LIMIT);
    }

    @Test
    void refusesWhatDoesNotFitIntoTheQueue() throws Exception {
        Engine engine = engine(1, 0, ScriptedRank.of(0));
        assertThatThrownBy(() -> engine.submit(sequence(new int[]{1}, 1))).isInstanceOf(EngineException.class)
                .hasMessage("0 requests wait already, the limit is 0: try again later");
        engine.close(LIMIT);
    }

    @Test
    void closingLetsRunningSequencesEndAndAbortsTheRest() throws Exception {
        ScriptedRank rank = ScriptedRank.of(0);
        Engine engine = engine(1, 100, rank);
        Sequence running = sequence(new int[]{3}, 2000);
        engine.submit(running);
        assertThat(running.events().poll(LIMIT.toSeconds(), TimeUnit.SECONDS)).isNotNull();
        Sequence waiting = sequence(new int[]{4}, 5);
        engine.submit(waiting);
        engine.close(LIMIT);
        assertThat(tokens(running, Sequence.End.LENGTH)).hasSize(1999);
        assertThat(tokens(waiting, Sequence.End.ABORTED)).isEmpty();
        assertThat(rank.commands.getLast()).isEqualTo(new RankCommand.Stop());
        assertThatThrownBy(() -> engine.submit(sequence(new int[]{1}, 1))).hasMessage("the server is ending");
    }

    @Test
    void aCancelledSequenceGivesItsSlotBack() throws Exception {
        Engine engine = engine(1, 100, ScriptedRank.of(0));
        Sequence endless = sequence(new int[]{3}, 1_000_000);
        engine.submit(endless);
        assertThat(endless.events().poll(LIMIT.toSeconds(), TimeUnit.SECONDS)).isNotNull();
        Sequence next = sequence(new int[]{2}, 3);
        engine.submit(next);
        endless.cancel();
        assertThat(tokens(next, Sequence.End.LENGTH)).isEqualTo(ScriptedRank.expected(new int[]{2}, 3));
        engine.close(LIMIT);
    }

    @Test
    void anEndTokenEndsASequence() throws Exception {
        Engine engine = engine(1, 100, ScriptedRank.of(0));
        List<Integer> all = ScriptedRank.expected(new int[]{3, 4}, 5);
        Sequence sequence = new Sequence(new int[]{3, 4}, 100, 0, 0, Set.of(all.get(4)));
        engine.submit(sequence);
        assertThat(tokens(sequence, Sequence.End.STOP)).isEqualTo(all.subList(0, 4));
        engine.close(LIMIT);
    }
}
