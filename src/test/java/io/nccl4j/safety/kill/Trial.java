package io.nccl4j.safety.kill;

import io.nccl4j.testing.LayerKind;
import java.time.Duration;
import java.util.SplittableRandom;

/**
 * One trial. Drawn by the test and, from the same seed, by each of its processes.
 *
 * @param number from 0; any twenty in a row have each signal at each place
 * @param seed of the layer's case
 * @param tcp whether the ranks meet by TCP; otherwise by a folder
 * @param mask whether ranks that are late are masked; low latency alone
 * @param graph whether steps are replays
 * @param delay of the signal after the beginning of the place
 * @param pause after which a stopped process goes on, before any limit; null if the others must have ended before
 * @param hook whether the process closes everything in a shutdown hook, as a server does
 */
record Trial(int number, long seed, int ranks, int victim, boolean tcp, LayerKind kind, boolean mask, boolean graph,
        Signal signal, Place place, Duration delay, Duration pause, boolean hook) {
    private static final Signal[] SIGNALS = {Signal.KILL, Signal.STOP, Signal.TERM, Signal.INT};

    static Trial draw(int number, long campaign) {
        SplittableRandom random = new SplittableRandom(campaign + number);
        Signal signal = SIGNALS[number % SIGNALS.length];
        Place place = Place.values()[number / SIGNALS.length % Place.values().length];
        int ranks = random.nextInt(2, 4);
        LayerKind kind = LayerKind.values()[random.nextInt(LayerKind.values().length)];
        Duration delay = Duration.ofNanos(random.nextLong(place.longest().toNanos()));
        Duration pause = Duration.ofMillis(random.nextLong(100, 500));
        boolean brief = signal == Signal.STOP && random.nextInt(3) == 0;
        return new Trial(number, random.nextLong(), ranks, random.nextInt(ranks), random.nextBoolean(), kind,
                kind.isLowLatency() && random.nextBoolean(), random.nextBoolean(), signal, place, delay,
                brief ? pause : null, (signal == Signal.TERM || signal == Signal.INT) && random.nextBoolean());
    }

    @Override
    public String toString() {
        return "trial " + number + ": " + signal + (hook ? " with a hook" : "")
                + (pause == null ? "" : " for " + pause.toMillis() + " ms") + " to rank " + victim + " of " + ranks
                + " at " + place + " + " + delay.toNanos() / 1000 + " us, " + (tcp ? "TCP" : "folder") + ", " + kind
                + (mask ? ", mask" : "") + (graph ? ", graph" : "");
    }
}
