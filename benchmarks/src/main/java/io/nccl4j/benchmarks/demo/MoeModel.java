package io.nccl4j.benchmarks.demo;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/**
 * The model that the demo runs: layers of router and experts, and the tokens of each step. A layer's output is the next
 * layer's input. Everything follows from a seed, so that all ranks have the same model without talking to each other.
 */
final class MoeModel {
    /**
     * One layer.
     *
     * @param router chooses the experts
     * @param experts what they compute
     */
    record Layer(Router router, AffineExperts experts) {
    }

    private final DemoOptions.Plan plan;
    private final List<Layer> layers = new ArrayList<>();

    MoeModel(DemoOptions.Plan plan) {
        this.plan = plan;
        SplittableRandom random = new SplittableRandom(plan.seed());
        for (int layer = 0; layer < plan.layers(); layer++) {
            layers.add(new Layer(new Router(plan.shape().experts(), plan.hidden(), plan.shape().topK(), random.split()),
                    new AffineExperts(plan.shape().experts(), plan.hidden(), random.split())));
        }
    }

    List<Layer> layers() {
        return layers;
    }

    /** How many tokens a rank decodes in a step: any number from none to all, all of them in the first step. */
    int batch(int step, int rank) {
        return step == 0 ? plan.shape().maxTokens() : random(step, rank).nextInt(plan.shape().maxTokens() + 1);
    }

    /** The elements of the tokens that a rank decodes in a step. */
    float[][] tokens(int step, int rank) {
        SplittableRandom random = random(step, rank).split();
        float[][] tokens = new float[batch(step, rank)][plan.hidden()];
        for (float[] token : tokens) {
            for (int column = 0; column < token.length; column++) {
                token[column] = (float) random.nextDouble(-1, 1);
            }
        }
        return tokens;
    }

    private SplittableRandom random(int step, int rank) {
        return new SplittableRandom(plan.seed() ^ 0x9e3779b97f4a7c15L * (1 + step * 1000L + rank));
    }
}
