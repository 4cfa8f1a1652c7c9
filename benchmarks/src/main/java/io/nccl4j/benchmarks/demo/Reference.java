package io.nccl4j.benchmarks.demo;

import io.nccl4j.oracle.EpShape;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.Routing;
import io.nccl4j.oracle.Source;

/**
 * The same step without the library: a rank's tokens through all layers in plain Java, with the roundings that NCCL EP documents.
 * Outputs must be equal bit by bit. How far they are from exact arithmetic, which bfloat16 cannot avoid, is only reported.
 */
final class Reference {
    private static final NumberFormat FORMAT = NumberFormat.BFLOAT16;

    private final DemoOptions options;
    private final MoeModel model;
    private final CombineArithmetic arithmetic;

    Reference(DemoOptions options, MoeModel model, CombineArithmetic arithmetic) {
        this.options = options;
        this.model = model;
        this.arithmetic = arithmetic;
    }

    /**
     * Checks a rank's step.
     *
     * @param inputs the tokens' rows before the first layer
     * @param outputs {@code [layer][token]}: the rows that came out of each layer
     */
    Verification verify(int step, int rank, byte[][] inputs, byte[][][] outputs) {
        Verification verification = Verification.none();
        byte[][] rows = inputs;
        for (int layer = 0; layer < options.layers(); layer++) {
            Routed routed = route(model.layers().get(layer).router(), rank, rows);
            ExpertFunction experts = model.layers().get(layer).experts();
            byte[][] expected = arithmetic.expected(routed, experts, options.hidden());
            for (int token = 0; token < rows.length; token++) {
                String what = "step " + step + ", rank " + rank + ", layer " + layer + ", token " + token;
                double error = maxError(routed, token, experts, outputs[layer][token]);
                verification = verification.plus(Verification.of(expected[token], outputs[layer][token], error, what));
            }
            rows = expected;
        }
        return verification;
    }

    /**
     * A rank's tokens on their way into a layer.
     *
     * @param routing of all ranks, of which only this one has tokens
     * @param rows the tokens' rows
     * @param weights {@code [T][topK]}
     */
    record Routed(int rank, Routing routing, byte[][] rows, float[][] weights) {
    }

    private Routed route(Router router, int rank, byte[][] rows) {
        int[][][] experts = new int[options.ranks()][0][];
        experts[rank] = new int[rows.length][options.topK()];
        float[][] weights = new float[rows.length][options.topK()];
        for (int token = 0; token < rows.length; token++) {
            router.route(FORMAT.decodeRow(rows[token]), experts[rank][token], weights[token]);
        }
        EpShape shape = new EpShape(options.ranks(), options.experts(), options.topK(), options.tokens());
        return new Routed(rank, new Routing(shape, experts), rows, weights);
    }

    /** The largest distance of an output row from the weighted sum of its experts' outputs in exact arithmetic. */
    private static double maxError(Routed routed, int token, ExpertFunction experts, byte[] output) {
        Source source = new Source(routed.rank(), token);
        double max = 0;
        for (int column = 0; column < output.length / FORMAT.bytes(); column++) {
            double exact = 0;
            float x = FORMAT.get(routed.rows()[token], column);
            for (int k = 0; k < routed.weights()[token].length; k++) {
                exact += routed.weights()[token][k]
                        * experts.applyExactly(routed.routing().expert(source, k), column, x);
            }
            max = Math.max(max, Math.abs(FORMAT.get(output, column) - exact));
        }
        return max;
    }
}
