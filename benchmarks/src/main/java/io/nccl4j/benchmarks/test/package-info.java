/**
 * {@code ep test}: the correctness matrix. Each cell is a way to use the library; random cases of it run on all ranks,
 * and every row, counter and index that comes out is compared with {@link io.nccl4j.oracle}.
 */
@NullMarked
package io.nccl4j.benchmarks.test;

import org.jspecify.annotations.NullMarked;
