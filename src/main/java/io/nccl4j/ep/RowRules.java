package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import java.util.EnumSet;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The rules for tensors that the calls share: extents, row lengths, and where tensors may start (5.1 and appendix E of
 * the semantics). Rows are moved 16 bytes at a time, everything else by its own size; another address is a fault of the
 * device that nothing mends.
 */
final class RowRules {
    /** Types of rows that travel as they are. */
    static final Set<DataType> PLAIN = EnumSet.of(DataType.BFLOAT16, DataType.FLOAT16, DataType.FLOAT32);
    static final int VECTOR_BYTES = 16;
    /** A low-latency layer moves rows of so many elements, or a multiple. */
    static final int LL_PACKET = 512;
    /** A high-throughput combine adds so many elements at a time. */
    static final int HT_PACKET = 8;

    private RowRules() {
    }

    static void checkHidden(String call, long hidden, int multiple, Violations v) {
        v.addIf(Rule.ROW_LENGTH, hidden <= 0 || hidden % multiple != 0,
                "hidden is %d: %s needs a multiple of %d, and a low-latency layer one of %d; pad rows to %d", hidden,
                call, multiple, LL_PACKET, Sizes.alignUp(Math.max(1, hidden), LL_PACKET));
    }

    static void checkFits(HandleShape s, long bytes, Violations v) {
        v.addIf(Rule.ROW_BYTES, bytes > s.config().maxTokenBytes(),
                "a row with its scales has %d bytes: the group was created with maxTokenBytes %d", bytes,
                s.config().maxTokenBytes());
    }

    /** The mode that copies rows on the receiver keeps several of them in shared memory. */
    static void checkSharedMemory(HandleShape s, long needed, long rowBytes) {
        if (s.mode() != ExpertMajorMode.LOCAL_DUP || !s.isExpertMajor()) {
            return;
        }
        int most = s.group().device().sharedMemoryBytes();
        Rule.ROW_LENGTH.refuseIf(needed > most,
                "a row has %d bytes: mode LOCAL_DUP would need %d bytes of shared memory, the device has %d", rowBytes,
                needed, most);
    }

    /** Types have a rule of their own. */
    static void expectExtents(Rule rule, HandleShape s, String name, TensorShape given, TensorShape expected) {
        rule.refuseIf(!given.has(given.type(), expected.extents()), "%s: given is %s, %s needs %s", name, given,
                s.name(), expected);
    }

    /** @param whose for messages: the layout, and where it matters the direction */
    static void expect(Rule rule, String whose, String name, @Nullable TensorShape given,
            @Nullable TensorShape expected) {
        rule.refuseIf(expected == null && given != null, "%s: given is %s, %s has none", name, given, whose);
        rule.refuseIf(expected != null && (given == null || !given.isLike(expected)), "%s: given is %s, %s needs %s",
                name, given, whose, expected);
    }

    /** The address of rows. */
    static void checkRowAddress(String name, @Nullable TensorShape rows) {
        checkAddress(name, rows, VECTOR_BYTES);
    }

    /** The address of all other tensors. */
    static void checkAddress(String name, @Nullable TensorShape elements) {
        if (elements != null) {
            checkAddress(name, elements, elements.type().byteSize());
        }
    }

    private static void checkAddress(String name, @Nullable TensorShape tensor, int multiple) {
        if (tensor != null) {
            Rule.ADDRESS.refuseIf(tensor.address() % multiple != 0,
                    "%s, %s, starts at 0x%x: must be a multiple of %d; the next one is 0x%x", name, tensor,
                    tensor.address(), multiple, Sizes.alignUp(tensor.address(), multiple));
        }
    }
}
