package io.nccl4j.ep;

/**
 * The ranks of a group as LSA teams: runs of consecutive ranks that address each other's memory. Between teams there is
 * a network.
 *
 * @param ranks R
 * @param count N, a divisor of it
 */
record LsaTeams(int ranks, int count) {

    /** All ranks in one team. */
    static LsaTeams one(int ranks) {
        return new LsaTeams(ranks, 1);
    }

    /** S: ranks of a team. */
    int size() {
        return ranks / count;
    }

    boolean areSeveral() {
        return count > 1;
    }

    /** L times S: how many of all experts the ranks of a team have. */
    int experts(int all) {
        return all / ranks * size();
    }

    @Override
    public String toString() {
        return count + (areSeveral() ? " teams of " : " team of ") + size() + (size() == 1 ? " rank" : " ranks");
    }
}
