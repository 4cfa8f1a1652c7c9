package io.nccl4j.examples.moe.serve;

import java.util.Arrays;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.jspecify.annotations.Nullable;

/** A request on its way: the prompt's tokens, then those that were sampled. Changed by the engine's thread only. */
public final class Sequence {
    /** Why a sequence has ended. */
    public enum End {
        /** It has as many tokens as were asked for. */
        LENGTH,
        /** It has sampled a token that ends it. */
        STOP,
        /** Its client has gone. */
        CANCELLED,
        /** The server has ended, or no rank is left. */
        ABORTED
    }

    /**
     * Something that its client is told.
     *
     * @param token sampled, or -1
     * @param end not null in the last event
     */
    public record Event(int token, @Nullable End end) {
    }

    private final int promptLength;
    private final int maxTokens;
    private final float temperature;
    private final long seed;
    private final Set<Integer> endTokens;
    private final BlockingQueue<Event> events = new LinkedBlockingQueue<>();
    private int[] tokens;
    private int length;
    private int computed;
    private int slot = -1;
    private volatile boolean cancelled;

    /**
     * @param prompt at least one token
     * @param maxTokens how many to sample at most
     * @param temperature 0 for the best token each time
     * @param seed of sampling
     * @param endTokens that end it before
     */
    public Sequence(int[] prompt, int maxTokens, float temperature, long seed, Set<Integer> endTokens) {
        this.promptLength = prompt.length;
        this.maxTokens = maxTokens;
        this.temperature = temperature;
        this.seed = seed;
        this.endTokens = endTokens;
        this.tokens = Arrays.copyOf(prompt, prompt.length + Math.min(maxTokens, 64));
        this.length = prompt.length;
    }

    /** The result that its client waits for. */
    public BlockingQueue<Event> events() {
        return events;
    }

    /** Its client has gone: the engine drops it before the next step. */
    public void cancel() {
        cancelled = true;
    }

    boolean isCancelled() {
        return cancelled;
    }

    /** Tokens of which the cache has nothing yet; at least one, since the newest was sampled by the last step. */
    int pending() {
        return length - computed;
    }

    int computed() {
        return computed;
    }

    int token(int position) {
        return tokens[position];
    }

    float temperature() {
        return temperature;
    }

    long seed() {
        return seed;
    }

    int slot() {
        return slot;
    }

    /** Begins, or begins anew after its rank was lost: the cache of the slot has nothing of it. */
    void place(int newSlot) {
        slot = newSlot;
        computed = 0;
    }

    /**
     * A step has brought so many further tokens into the cache, and sampled the next one if those were all.
     *
     * @return whether it has ended
     */
    boolean advance(int count, int sampled) {
        computed += count;
        if (computed < length) {
            return false;
        }
        if (endTokens.contains(sampled)) {
            end(End.STOP);
            return true;
        }
        if (length == tokens.length) {
            tokens = Arrays.copyOf(tokens, 2 * length);
        }
        tokens[length++] = sampled;
        boolean last = length - promptLength >= maxTokens;
        events.add(new Event(sampled, last ? End.LENGTH : null));
        return last;
    }

    void end(End reason) {
        events.add(new Event(-1, reason));
    }
}
