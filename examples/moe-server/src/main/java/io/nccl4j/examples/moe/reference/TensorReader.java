package io.nccl4j.examples.moe.reference;

/** Gives a tensor as floats, row by row. */
@FunctionalInterface
interface TensorReader {
    float[] read(String name, long... shape);
}
