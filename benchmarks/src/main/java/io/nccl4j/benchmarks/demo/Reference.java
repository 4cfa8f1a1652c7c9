package io.nccl4j.benchmarks.demo;

import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.Routing;
import io.nccl4j.testing.MoeLayer;

/**
 * The same step without the library: a rank's tokens through all layers in plain Java, with the roundings that NCCL EP
 * documents. Outputs must be equal bit by bit. How far they are from exact arithmetic, which bfloat16 cannot avoid, is
 * only reported.
 *
 * @param layer says what combine gives
 */
record Reference(MoeModel model, MoeLayer layer, int rank) {
    private static final NumberFormat FORMAT = NumberFormat.BFLOAT16;

    /**
     * Checks a step.
     *
     * @param step its name
     * @param inputs the tokens' rows before the first layer
     * @param outputs {@code [layer][token]}: the rows that came out of each layer
     */
    Verification verify(String step, byte[][] inputs, byte[][][] outputs) {
        Verification verification = Verification.none();
        byte[][] rows = inputs;
        for (int at = 0; at < outputs.length; at++) {
            MoeModel.Layer moe = model.layers().get(at);
            GlobalInputs routed = route(moe.router(), rows);
            byte[][] expected = layer.rows().oracle(routed, moe.experts().onRows(layer.buffers().config()))
                    .combined(rank);
            for (int token = 0; token < rows.length; token++) {
                double error = maxError(routed, token, moe.experts(), outputs[at][token]);
                verification = verification.plus(Verification.of(expected[token], outputs[at][token], error,
                        step + ", layer " + at + ", token " + token));
            }
            rows = expected;
        }
        return verification;
    }

    /** This rank's tokens on their way into a layer; nobody else's have a part in what comes home to it. */
    private GlobalInputs route(Router router, byte[][] rows) {
        int ranks = layer.rows().shape().ranks();
        int topK = layer.rows().shape().topK();
        byte[][][] tokens = new byte[ranks][0][];
        int[][][] experts = new int[ranks][0][];
        float[][][] weights = new float[ranks][0][];
        tokens[rank] = rows;
        experts[rank] = new int[rows.length][topK];
        weights[rank] = new float[rows.length][topK];
        for (int token = 0; token < rows.length; token++) {
            router.route(FORMAT.decodeRow(rows[token]), experts[rank][token], weights[rank][token]);
        }
        return new GlobalInputs(new Routing(layer.rows().shape(), experts), tokens, null, weights);
    }

    /** The largest distance of an output row from the weighted sum of its experts' outputs in exact arithmetic. */
    private double maxError(GlobalInputs routed, int token, AffineExperts experts, byte[] output) {
        int[] chosen = routed.routing().of(rank)[token];
        float[] weights = routed.weights()[rank][token];
        float[] x = FORMAT.decodeRow(routed.tokens()[rank][token]);
        float[] actual = FORMAT.decodeRow(output);
        double max = 0;
        for (int column = 0; column < x.length; column++) {
            double exact = 0;
            for (int k = 0; k < chosen.length; k++) {
                exact += weights[k] * experts.applyExactly(chosen[k], column, x[column]);
            }
            max = Math.max(max, Math.abs(actual[column] - exact));
        }
        return max;
    }
}
