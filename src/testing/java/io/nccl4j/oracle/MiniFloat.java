package io.nccl4j.oracle;

/**
 * A floating-point format of at most eight bits: sign, exponent with the usual bias, mantissa, subnormals. What lies
 * beyond the largest finite value saturates to it.
 *
 * @param exponentBits bits of the exponent
 * @param mantissaBits bits of the mantissa
 * @param largest bits of the largest finite value
 * @param nan bits that stand for not-a-number, or -1 if the format has none (then NaN becomes the largest value)
 */
record MiniFloat(int exponentBits, int mantissaBits, int largest, int nan) {

    float decode(int bits) {
        int magnitude = bits & (1 << exponentBits + mantissaBits) - 1;
        if (magnitude > largest) {
            return Float.NaN;
        }
        int exponent = magnitude >>> mantissaBits;
        int mantissa = magnitude & (1 << mantissaBits) - 1;
        float value = exponent == 0 ? mantissa : mantissa + (1 << mantissaBits);
        value = Math.scalb(value, Math.max(exponent, 1) - bias() - mantissaBits);
        return (bits >>> exponentBits + mantissaBits & 1) == 0 ? value : -value;
    }

    int encode(float value) {
        if (Float.isNaN(value)) {
            return nan >= 0 ? nan : largest;
        }
        int sign = (Float.floatToRawIntBits(value) >>> 31) << exponentBits + mantissaBits;
        double magnitude = Math.abs((double) value);
        if (magnitude >= decode(largest)) {
            return sign | largest;
        }
        // In a binade all values are multiples of one unit; rint rounds ties to even. Rounding up to the next binade
        // carries
        // into the exponent by itself, since the encodings of a format are consecutive.
        int exponent = Math.max(Math.getExponent(magnitude), 1 - bias());
        int units = (int) Math.rint(Math.scalb(magnitude, mantissaBits - exponent));
        int bits = (exponent + bias() - 1 << mantissaBits) + units;
        return sign | bits;
    }

    private int bias() {
        return (1 << exponentBits - 1) - 1;
    }
}
