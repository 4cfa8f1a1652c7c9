package io.nccl4j.examples.moe.serve;

import io.nccl4j.examples.moe.rank.Rank;

/** Ranks without a model for tests of other packages. */
public final class TestRanks {
    private TestRanks() {
    }

    /** Each next token is the sum of all before, modulo a prime. */
    public static Rank scripted() {
        return ScriptedRank.of(0);
    }
}
