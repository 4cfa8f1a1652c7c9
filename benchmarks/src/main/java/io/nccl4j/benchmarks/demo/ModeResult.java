package io.nccl4j.benchmarks.demo;

import java.util.List;
import org.HdrHistogram.Histogram;

/**
 * The result of one mode: on one rank, or on all.
 *
 * @param mode the mode
 * @param hostTimes nanoseconds per step that the calling thread was busy making calls
 * @param stepTimes nanoseconds from the first call of a step until all its work was done
 * @param verification of all output rows
 */
record ModeResult(Mode mode, Histogram hostTimes, Histogram stepTimes, Verification verification) {
    private static final int DIGITS = 3;

    static ModeResult none(Mode mode) {
        return new ModeResult(mode, new Histogram(DIGITS), new Histogram(DIGITS), Verification.none());
    }

    /** The same with one more step. */
    ModeResult plus(StepResult step) {
        hostTimes.recordValue(step.hostNanos());
        stepTimes.recordValue(step.stepNanos());
        return new ModeResult(mode, hostTimes, stepTimes, verification.plus(step.verification()));
    }

    /** The results of all ranks as one. */
    static ModeResult merge(List<ModeResult> ranks) {
        ModeResult all = none(ranks.getFirst().mode);
        for (ModeResult rank : ranks) {
            all.hostTimes.add(rank.hostTimes);
            all.stepTimes.add(rank.stepTimes);
            all = new ModeResult(all.mode, all.hostTimes, all.stepTimes, all.verification.plus(rank.verification));
        }
        return all;
    }

    double medianHostMicros() {
        return hostTimes.getValueAtPercentile(50) / 1e3;
    }

    double medianStepMicros() {
        return stepTimes.getValueAtPercentile(50) / 1e3;
    }
}
