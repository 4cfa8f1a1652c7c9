package io.nccl4j.oracle;

/** The routing weights of a token's experts on the receiving side of the high-throughput algorithm. */
final class RoutedWeights {
    private RoutedWeights() {
    }

    /**
     * Checks the weight received for an expert. A token that names the expert twice has two weights, of which either
     * may have survived.
     */
    static void verify(GlobalInputs inputs, Source source, int expert, float actual, String what) {
        StringBuilder allowed = new StringBuilder();
        for (int k = 0; k < inputs.routing().shape().topK(); k++) {
            if (inputs.routing().expert(source, k) == expert) {
                float weight = inputs.weights(source)[k];
                if (Float.floatToRawIntBits(weight) == Float.floatToRawIntBits(actual)) {
                    return;
                }
                allowed.append(allowed.isEmpty() ? "" : " or ").append(weight);
            }
        }
        throw new Mismatch(
                what + ": weight " + actual + " for expert " + expert + " of " + source + ", expected " + allowed);
    }
}
