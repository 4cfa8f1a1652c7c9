/**
 * Expected results of NCCL EP, computed in plain Java from the inputs of all ranks.
 *
 * <p>Nothing here calls the library or any native code, and nothing is optimised: each class states one layout's rules
 * as directly as it can, so that a test which compares a device's output with it compares two independent derivations.
 * Rows are {@code byte[]} in the device's (little-endian) format; arithmetic is done in {@code float} with the rounding
 * steps that NCCL EP does, so results are expected to be equal bit by bit. Where NCCL EP leaves an order open, rows are
 * compared as sets.
 *
 * <p>A comparison that fails throws {@link io.nccl4j.oracle.Mismatch}.
 */
@NullMarked
package io.nccl4j.oracle;

import org.jspecify.annotations.NullMarked;
