/**
 * JUnit 5 support for tests of code that uses NCCL EP: {@link io.nccl4j.junit.EmulatedRanks} lets a test run on the
 * emulator, on any Linux machine without a GPU.
 */
@NullMarked
package io.nccl4j.junit;

import org.jspecify.annotations.NullMarked;
