/**
 * {@code ep jmh}: host cost of the calls made per step, on libraries that check what they are given and return
 * ({@code benchmarks/native}).
 *
 * <p>Not {@code @NullMarked}: JMH's generated code is not.
 */
package io.nccl4j.benchmarks.jmh;
