package io.nccl4j.ep;

import org.jspecify.annotations.Nullable;

/**
 * Where tensors may start: appendix E of the semantics. Rows are moved 16 bytes at a time, everything else by its own
 * size; another address is a fault of the device that nothing mends.
 */
final class AddressRules {
    private static final int VECTOR_BYTES = 16;

    private AddressRules() {
    }

    static void checkRows(String name, @Nullable TensorShape rows) {
        check(name, rows, VECTOR_BYTES);
    }

    static void checkElements(String name, @Nullable TensorShape elements) {
        if (elements != null) {
            check(name, elements, elements.type().byteSize());
        }
    }

    private static void check(String name, @Nullable TensorShape tensor, int multiple) {
        if (tensor != null) {
            Rule.ADDRESS.refuseIf(tensor.address() % multiple != 0,
                    "%s, %s, starts at 0x%x: must be a multiple of %d; the next one is 0x%x", name, tensor,
                    tensor.address(), multiple, Sizes.alignUp(tensor.address(), multiple));
        }
    }
}
