package io.nccl4j.examples.moe.serve;

import io.nccl4j.examples.moe.step.StepBatch;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/**
 * The sequences of one rank and what of them goes into the next step: a row for each that decodes, and chunks of
 * prompts in the rows that are left. Used by the engine's thread.
 */
final class RankSchedule {
    /** Rows of a step that belong to one sequence. */
    private record Share(Sequence sequence, int firstRow, int count) {
    }

    private final int maxRows;
    private final int chunk;
    private final Deque<Integer> freeSlots = new ArrayDeque<>();
    private final List<Sequence> running = new ArrayList<>();
    private final List<Share> shares = new ArrayList<>();

    /**
     * @param maxRows of a step
     * @param slots most sequences at once, no more than rows
     * @param chunk most rows of a step for prompts
     */
    RankSchedule(int maxRows, int slots, int chunk) {
        this.maxRows = maxRows;
        this.chunk = chunk;
        for (int slot = 0; slot < slots; slot++) {
            freeSlots.add(slot);
        }
    }

    boolean hasFreeSlot() {
        return !freeSlots.isEmpty();
    }

    int size() {
        return running.size();
    }

    void admit(Sequence sequence) {
        sequence.place(freeSlots.remove());
        running.add(sequence);
    }

    /** Drops what nobody waits for any more. */
    void dropCancelled() {
        running.removeIf(sequence -> {
            if (sequence.isCancelled()) {
                freeSlots.add(sequence.slot());
                sequence.end(Sequence.End.CANCELLED);
                return true;
            }
            return false;
        });
    }

    /** Takes all sequences away: the rank is lost, or the server ends. */
    List<Sequence> removeAll() {
        List<Sequence> all = List.copyOf(running);
        running.forEach(sequence -> freeSlots.add(sequence.slot()));
        running.clear();
        return all;
    }

    /** The rows of the next step. Sequences that decode go first, so that a long prompt does not hold them up. */
    StepBatch next() {
        shares.clear();
        int rows = 0;
        for (Sequence sequence : running) {
            if (sequence.pending() == 1 && rows < maxRows) {
                shares.add(new Share(sequence, rows++, 1));
            }
        }
        int left = Math.min(chunk, maxRows - rows);
        for (Sequence sequence : running) {
            int count = Math.min(left, sequence.pending());
            if (sequence.pending() > 1 && count > 0) {
                shares.add(new Share(sequence, rows, count));
                rows += count;
                left -= count;
            }
        }
        StepBatch batch = StepBatch.ofSize(rows);
        for (Share share : shares) {
            fill(batch, share);
        }
        return batch;
    }

    private static void fill(StepBatch batch, Share share) {
        Sequence sequence = share.sequence();
        for (int i = 0; i < share.count(); i++) {
            int row = share.firstRow() + i;
            int position = sequence.computed() + i;
            batch.tokens()[row] = sequence.token(position);
            batch.slots()[row] = sequence.slot();
            batch.positions()[row] = position;
            batch.temperatures()[row] = sequence.temperature();
            batch.seeds()[row] = sequence.seed();
        }
    }

    /**
     * Takes in what the step has sampled.
     *
     * @return how many tokens were sampled for clients
     */
    int finish(int[] sampled) {
        int count = 0;
        for (Share share : shares) {
            Sequence sequence = share.sequence();
            boolean samples = sequence.pending() == share.count();
            count += samples ? 1 : 0;
            if (sequence.advance(share.count(), sampled[share.firstRow() + share.count() - 1])) {
                running.remove(sequence);
                freeSlots.add(sequence.slot());
            }
        }
        shares.clear();
        return count;
    }
}
