/**
 * The CPU emulator of the CUDA runtime, NCCL and NCCL EP: switching it on, running ranks as threads, its options,
 * faults, call log and memory. For tests; nothing here works on real libraries.
 */
@NullMarked
package io.nccl4j.emulator;

import org.jspecify.annotations.NullMarked;
