package io.nccl4j.examples.moe.serve;

import io.nccl4j.examples.moe.rank.Rank;
import io.nccl4j.examples.moe.rank.RankAnswer;
import io.nccl4j.examples.moe.rank.RankCommand;
import io.nccl4j.examples.moe.rank.RankLostException;
import io.nccl4j.examples.moe.step.StepBatch;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * A rank without a model, which remembers what it was told of each slot: the next token is the sum of all tokens of the
 * sequence so far, so that a row that is missing, twice there or out of order changes it.
 */
final class ScriptedRank implements Rank {
    static final int VOCABULARY = 1009;

    private final int number;
    private final int diesAtStep;
    private final Map<Integer, List<Integer>> caches = new HashMap<>();
    final List<Integer> rowsOfSteps = Collections.synchronizedList(new ArrayList<>());
    final List<RankCommand> commands = Collections.synchronizedList(new ArrayList<>());
    private StepBatch pending;

    ScriptedRank(int number, int diesAtStep) {
        this.number = number;
        this.diesAtStep = diesAtStep;
    }

    static ScriptedRank of(int number) {
        return new ScriptedRank(number, Integer.MAX_VALUE);
    }

    /** The tokens that a sequence must come to. */
    static List<Integer> expected(int[] prompt, int count) {
        List<Integer> tokens = new ArrayList<>();
        int sum = 0;
        for (int token : prompt) {
            sum += token;
        }
        for (int i = 0; i < count; i++) {
            int next = sum % VOCABULARY;
            tokens.add(next);
            sum += next;
        }
        return tokens;
    }

    @Override
    public int number() {
        return number;
    }

    @Override
    public void send(RankCommand command) {
        commands.add(command);
        if (command instanceof RankCommand.Step step) {
            pending = step.batch();
        }
    }

    @Override
    public RankAnswer await(Duration limit) throws RankLostException {
        if (rowsOfSteps.size() >= diesAtStep) {
            throw new RankLostException("rank " + number + " is gone");
        }
        rowsOfSteps.add(pending.rows());
        int[] sampled = new int[pending.rows()];
        for (int row = 0; row < sampled.length; row++) {
            List<Integer> cache = caches.computeIfAbsent(pending.slots()[row], slot -> new ArrayList<>());
            int position = pending.positions()[row];
            if (position > cache.size()) {
                throw new IllegalStateException("position " + position + " of a cache of " + cache.size());
            }
            cache.subList(position, cache.size()).clear();
            cache.add(pending.tokens()[row]);
            sampled[row] = cache.stream().mapToInt(Integer::intValue).sum() % VOCABULARY;
        }
        return new RankAnswer(sampled, Set.of(), null);
    }

    @Override
    public void kill() {
        commands.add(new RankCommand.Stop());
    }

    @Override
    public boolean join(Duration limit) {
        return true;
    }
}
