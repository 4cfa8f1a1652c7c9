package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.bindings.ncclep.NcclEp;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.HashSet;
import java.util.Locale;
import java.util.Set;
import java.util.function.ToIntFunction;
import org.junit.jupiter.api.Test;

/** Every enumerator of the C header has its Java constant, and the other way round. */
class EnumsTest {
    @Test
    void algorithm() throws Exception {
        check("NCCL_EP_ALGO_", Algorithm.values(), Algorithm::code);
    }

    @Test
    void layout() throws Exception {
        check("NCCL_EP_LAYOUT_", Layout.values(), Layout::code, "NCCL_EP_LAYOUT_UNSET");
    }

    @Test
    void overflowPolicy() throws Exception {
        check("NCCL_EP_OVERFLOW_", OverflowPolicy.values(), OverflowPolicy::code);
    }

    @Test
    void zeroCopy() throws Exception {
        check("NCCL_EP_ZERO_COPY_", ZeroCopy.values(), ZeroCopy::code);
    }

    @Test
    void expertIds() throws Exception {
        check("NCCL_EP_EXPERT_ID_", ExpertIds.values(), ExpertIds::code);
    }

    @Test
    void dispatchRecipe() throws Exception {
        assertThat(DispatchRecipe.NONE.code()).isEqualTo(NcclEp.NCCL_EP_DISP_QUANT_NONE());
        assertThat(DispatchRecipe.QUANT_FWD.code()).isEqualTo(NcclEp.NCCL_EP_DISP_QUANT_FWD());
        assertThat(DispatchRecipe.DS_FP8E3M4.code()).isEqualTo(NcclEp.NCCL_EP_DISP_QUANT_DS_FP8E3M4());
        assertThat(constants("NCCL_EP_DISP_QUANT_")).hasSize(DispatchRecipe.values().length);
    }

    @Test
    void combineRecipe() throws Exception {
        check("NCCL_EP_COMB_QUANT_", CombineRecipe.values(), CombineRecipe::code);
    }

    @Test
    void passDirection() {
        assertThat(PassDirection.FORWARD.code()).isEqualTo(NcclEp.NCCL_EP_FWD_PASS());
        assertThat(PassDirection.BACKWARD.code()).isEqualTo(NcclEp.NCCL_EP_BWD_PASS());
    }

    private static <E extends Enum<E>> void check(String prefix, E[] values, ToIntFunction<E> code, String... without)
            throws Exception {
        Set<String> expected = constants(prefix);
        for (E value : values) {
            String name = prefix + value.name().toUpperCase(Locale.ROOT);
            assertThat(expected).contains(name);
            assertThat(NcclEp.class.getMethod(name).invoke(null)).isEqualTo(code.applyAsInt(value));
            expected.remove(name);
        }
        assertThat(expected).containsExactlyInAnyOrder(without);
    }

    /** Enumerators with the prefix; sizes and versions of structs are macros of other names. */
    private static Set<String> constants(String prefix) {
        Set<String> names = new HashSet<>();
        for (Method method : NcclEp.class.getMethods()) {
            String name = method.getName();
            if (Modifier.isStatic(method.getModifiers()) && name.startsWith(prefix) && !name.endsWith("_SIZE")
                    && !name.endsWith("_VERSION")) {
                names.add(name);
            }
        }
        return names;
    }
}
