package io.nccl4j.safety.hostile;

import io.nccl4j.emulator.MisuseMode;
import java.util.SplittableRandom;

/**
 * The settings of a run of {@link HostileUse}.
 *
 * @param seed the run; every sequence has a seed of its own, drawn from it
 * @param only one sequence, by its seed; null for all
 * @param seconds how long sequences are begun; 0 for no end but the number
 * @param sequences how many at most
 * @param actions of a sequence
 * @param faults whether native failures are injected
 * @param misuse what the emulator does with misuse
 * @param verbose whether every action is printed
 */
record HostileOptions(long seed, Long only, int seconds, int sequences, int actions, boolean faults, MisuseMode misuse,
        boolean verbose) {
    static HostileOptions parse(String[] arguments) {
        long seed = new SplittableRandom().nextLong();
        Long only = null;
        int seconds = 0;
        int sequences = Integer.MAX_VALUE;
        int actions = 150;
        boolean faults = true;
        MisuseMode misuse = MisuseMode.REPORT;
        boolean verbose = false;
        for (int i = 0; i + 1 < arguments.length; i += 2) {
            String value = arguments[i + 1];
            switch (arguments[i]) {
                case "--seed" -> seed = Long.parseUnsignedLong(value, 16);
                case "--only" -> only = Long.parseUnsignedLong(value, 16);
                case "--seconds" -> seconds = Integer.parseInt(value);
                case "--sequences" -> sequences = Integer.parseInt(value);
                case "--actions" -> actions = Integer.parseInt(value);
                case "--faults" -> faults = !value.equals("none");
                case "--misuse" -> misuse = MisuseMode.valueOf(value.toUpperCase(java.util.Locale.ROOT));
                case "--verbose" -> verbose = Boolean.parseBoolean(value);
                default -> throw new IllegalArgumentException(arguments[i]);
            }
        }
        return new HostileOptions(seed, only, seconds, sequences, actions, faults, misuse, verbose);
    }
}
