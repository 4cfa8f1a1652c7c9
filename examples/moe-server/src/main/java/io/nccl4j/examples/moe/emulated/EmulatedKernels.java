package io.nccl4j.examples.moe.emulated;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.KernelImplementation;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemoryLayout;

/**
 * The kernels of {@code moe.cu} as Java functions of the same names and parameters. What they compute is the same up to
 * the order of sums, in which they equal the reference model bit by bit.
 */
public final class EmulatedKernels {
    private static final MemoryLayout P = ADDRESS;
    private static final MemoryLayout I = JAVA_INT;
    private static final MemoryLayout L = JAVA_LONG;
    private static final MemoryLayout F = JAVA_FLOAT;

    private EmulatedKernels() {
    }

    /** Makes them known to the emulator of this process. */
    public static void register() {
        kernel("seed_weights", EmulatedRows::seedWeights, P, L, L, F, F);
        kernel("embed", EmulatedRows::embed, I, P, P, P, I, P);
        kernel("add_norm", EmulatedRows::addNorm, I, P, P, P, F, I, P);
        kernel("dense_bf16", EmulatedProducts::denseBf16, I, P, P, I, I, P);
        kernel("dense_f32", EmulatedProducts::denseF32, I, P, P, I, I, P);
        kernel("rotate_and_cache", EmulatedAttention::rotateAndCache, I, P, P, P, P, F, P, P, I, I, I, P, P);
        kernel("attention", EmulatedAttention::attention, I, P, P, P, P, P, I, I, I, P);
        kernel("route", EmulatedChoice::route, I, P, P, I, I, I, P, P);
        kernel("expert_gate_up", EmulatedProducts::expertGateUp, P, P, I, P, P, I, I, P);
        kernel("expert_down", EmulatedProducts::expertDown, P, P, I, P, I, I, P);
        kernel("sample", EmulatedChoice::sample, I, P, I, P, P, P, P, P);
    }

    private static void kernel(String name, KernelImplementation implementation, MemoryLayout... parameters) {
        Emulator.kernel(name, FunctionDescriptor.ofVoid(parameters), implementation);
    }
}
