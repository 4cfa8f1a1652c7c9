package io.nccl4j.oracle;

import java.util.ArrayList;
import java.util.List;

/** The experts that every token of every rank goes to: {@code topk_idx} of all ranks, {@code [rank][token][k]}. */
public final class Routing {
    private final EpShape shape;
    private final int[][][] experts;

    /**
     * @param shape the group's shape
     * @param experts {@code [rank][token][k]}: an expert, or a negative number for "none"; the array is kept, not
     *     copied
     */
    public Routing(EpShape shape, int[][][] experts) {
        if (experts.length != shape.ranks()) {
            throw new IllegalArgumentException("routing of " + experts.length + " ranks, expected " + shape.ranks());
        }
        for (int[][] rank : experts) {
            if (rank.length > shape.maxTokens()) {
                throw new IllegalArgumentException(rank.length + " tokens, allowed are " + shape.maxTokens());
            }
            for (int[] token : rank) {
                check(shape, token);
            }
        }
        this.shape = shape;
        this.experts = experts;
    }

    private static void check(EpShape shape, int[] token) {
        if (token.length != shape.topK()) {
            throw new IllegalArgumentException(token.length + " experts for a token, expected " + shape.topK());
        }
        for (int expert : token) {
            if (expert >= shape.experts()) {
                throw new IllegalArgumentException("expert " + expert + " of " + shape.experts());
            }
        }
    }

    Routing inTeams(int count) {
        return new Routing(shape.inTeams(count), experts);
    }

    public EpShape shape() {
        return shape;
    }

    /** Number of tokens of a rank, T. */
    public int tokens(int rank) {
        return experts[rank].length;
    }

    /** The k-th expert of a token, negative for none. */
    public int expert(Source source, int k) {
        return experts[source.rank()][source.token()][k];
    }

    /** {@code topk_idx} of a rank, {@code [T][K]}; not a copy. */
    public int[][] of(int rank) {
        return experts[rank];
    }

    /**
     * All tokens of all ranks, by rank, then by index: the order in which the high-throughput algorithm numbers them.
     */
    public List<Source> sources() {
        List<Source> sources = new ArrayList<>();
        for (int rank = 0; rank < shape.ranks(); rank++) {
            sources.addAll(sources(rank));
        }
        return sources;
    }

    /** The tokens of a rank. */
    public List<Source> sources(int rank) {
        List<Source> sources = new ArrayList<>(tokens(rank));
        for (int token = 0; token < tokens(rank); token++) {
            sources.add(new Source(rank, token));
        }
        return sources;
    }

    /** The local ids of a token's experts on a rank, each once, ascending; empty if the token does not go there. */
    public int[] localExperts(Source source, int rank) {
        boolean[] routed = new boolean[shape.localExperts()];
        int count = 0;
        for (int expert : experts[source.rank()][source.token()]) {
            if (expert >= 0 && shape.rankOf(expert) == rank && !routed[shape.localId(expert)]) {
                routed[shape.localId(expert)] = true;
                count++;
            }
        }
        int[] local = new int[count];
        for (int id = 0, i = 0; id < routed.length; id++) {
            if (routed[id]) {
                local[i++] = id;
            }
        }
        return local;
    }

    /**
     * The routing as the other ranks carry it out once they have masked {@code masked}: it sends nothing and owns no
     * expert.
     */
    public Routing without(int masked) {
        int[][][] rest = new int[shape.ranks()][][];
        for (int rank = 0; rank < rest.length; rank++) {
            rest[rank] = new int[rank == masked ? 0 : tokens(rank)][];
            for (int token = 0; token < rest[rank].length; token++) {
                int[] ids = experts[rank][token].clone();
                for (int k = 0; k < ids.length; k++) {
                    ids[k] = ids[k] >= 0 && shape.rankOf(ids[k]) == masked ? -1 : ids[k];
                }
                rest[rank][token] = ids;
            }
        }
        return new Routing(shape, rest);
    }

    /** Whether a token has an expert on a rank. */
    public boolean goesTo(Source source, int rank) {
        for (int expert : experts[source.rank()][source.token()]) {
            if (expert >= 0 && shape.rankOf(expert) == rank) {
                return true;
            }
        }
        return false;
    }
}
