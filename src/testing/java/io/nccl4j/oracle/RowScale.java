package io.nccl4j.oracle;

/** The scale that the caller gives to a row for combine recipe NVFP4. */
@FunctionalInterface
public interface RowScale {

    /** The scale of a row, bfloat16. */
    float of(byte[] row);
}
