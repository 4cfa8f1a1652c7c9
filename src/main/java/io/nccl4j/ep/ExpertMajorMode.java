package io.nccl4j.ep;

import java.util.List;
import java.util.Locale;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/**
 * How a high-throughput group brings a token to several experts of one rank. NCCL EP chooses by its environment
 * variables and by {@link ZeroCopy}; the rules for budgets and expert numbers depend on it.
 */
enum ExpertMajorMode {
    /** One row arrives, a kernel copies it to the experts' zones. */
    LOCAL_PERMUTE,
    /** The row goes into the first expert's zone and the receiver copies it to the others. */
    LOCAL_DUP,
    /** The sender writes the row into every expert's zone. */
    NVLINK_DUP;

    /** The process's environment; tests have their own. */
    static volatile UnaryOperator<@Nullable String> environment = System::getenv;

    static ExpertMajorMode of(ZeroCopy zeroCopy, int teams) {
        if (isSet("NCCL_EP_HT_EM_NVLINK_DUP")) {
            return NVLINK_DUP;
        }
        if (isSet("NCCL_EP_HT_EM_LOCAL_DUP")) {
            return LOCAL_DUP;
        }
        if (zeroCopy == ZeroCopy.ON) {
            return teams > 1 ? NVLINK_DUP : LOCAL_DUP;
        }
        return LOCAL_PERMUTE;
    }

    private static boolean isSet(String name) {
        String value = environment.apply(name);
        return value != null && List.of("1", "on", "true").contains(value.toLowerCase(Locale.ROOT));
    }

    /** Whether every top-k entry takes a row of its own on the way. */
    boolean duplicates() {
        return this != LOCAL_PERMUTE;
    }
}
