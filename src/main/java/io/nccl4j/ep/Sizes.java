package io.nccl4j.ep;

import java.util.stream.Collectors;
import java.util.stream.LongStream;

/** Arithmetic of sizes, which names the product that is no number. */
final class Sizes {
    private Sizes() {
    }

    static int number(String name, long value) {
        if (value > Integer.MAX_VALUE) {
            throw new IllegalArgumentException(name + ": " + value + " is more than 2^31 - 1");
        }
        return (int) value;
    }

    /** @throws IllegalArgumentException naming the product, if it is none of 63 bits */
    static long product(String name, long... factors) {
        long result = 1;
        for (long factor : factors) {
            if (factor < 0 || factor != 0 && result > Long.MAX_VALUE / factor) {
                throw tooLarge(name, " x ", factors);
            }
            result *= factor;
        }
        return result;
    }

    static long sum(String name, long... terms) {
        long result = 0;
        for (long term : terms) {
            if (term > Long.MAX_VALUE - result) {
                throw tooLarge(name, " + ", terms);
            }
            result += term;
        }
        return result;
    }

    private static IllegalArgumentException tooLarge(String name, String operator, long... values) {
        return new IllegalArgumentException(
                name + ": " + LongStream.of(values).mapToObj(Long::toString).collect(Collectors.joining(operator))
                        + " is not a number from 0 to 2^63 - 1");
    }

    static long alignUp(long value, long alignment) {
        if (value > Long.MAX_VALUE - alignment) {
            throw tooLarge("the next multiple of " + alignment, " + ", value, alignment);
        }
        return Math.ceilDiv(value, alignment) * alignment;
    }
}
