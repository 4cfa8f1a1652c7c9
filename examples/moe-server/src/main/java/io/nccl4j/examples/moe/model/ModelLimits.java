package io.nccl4j.examples.moe.model;

/** Shapes that the kernels and NCCL EP can do, asked before anything is loaded. */
public final class ModelLimits {
    /** Elements of a head for which the kernels are made. */
    public static final int HEAD = 128;
    /** Combine of low latency works on rows of multiples of this. */
    private static final int HIDDEN_UNIT = 512;
    private static final int WIDTH_UNIT = 64;
    /** Columns that a block of a dense product makes. */
    private static final int COLUMN_UNIT = 16;
    private static final int MOST_EXPERTS = 512;
    private static final int MOST_TOP_K = 32;

    private ModelLimits() {
    }

    public static void check(ModelConfig model, int ranks) {
        unit("hidden size", model.hidden(), HIDDEN_UNIT, "NCCL EP combines rows");
        unit("expert width", model.expertWidth(), WIDTH_UNIT, "the kernels take widths");
        unit("number of experts", model.experts(), COLUMN_UNIT, "the router takes them");
        unit("vocabulary", model.vocabulary(), COLUMN_UNIT, "the head takes tokens");
        if (model.headSize() != HEAD) {
            throw new ModelException(
                    "head size " + model.headSize() + " of " + model.name() + ": the kernels take " + HEAD);
        }
        if (model.heads() % model.kvHeads() != 0) {
            throw new ModelException(model.heads() + " query heads of " + model.name() + " cannot share "
                    + model.kvHeads() + " key-value heads");
        }
        if (model.experts() > MOST_EXPERTS || model.topK() > Math.min(MOST_TOP_K, model.experts())) {
            throw new ModelException(model.topK() + " of " + model.experts() + " experts in " + model.name()
                    + ": the router takes at most " + MOST_TOP_K + " of " + MOST_EXPERTS);
        }
        if (ranks < 1 || model.experts() % ranks != 0) {
            throw new ModelException(model.experts() + " experts cannot be shared out evenly to " + ranks
                    + " ranks: take a number of ranks that divides them");
        }
    }

    private static void unit(String what, int value, int unit, String who) {
        if (value % unit != 0) {
            throw new ModelException(what + " " + value + ": " + who + " in multiples of " + unit + ", the next is "
                    + (value / unit + 1) * unit);
        }
    }
}
