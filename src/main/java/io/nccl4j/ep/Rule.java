package io.nccl4j.ep;

import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * The conditions under which a native call is made. Whatever breaks one would end the process, hang the other ranks or
 * corrupt memory in the library, so it is checked here, before the call, and answered with an exception that says what
 * was given and what is allowed. The numbers are those of the sections of the semantics that state the rule.
 */
enum Rule {
    /** A.1: a group and its handles are used by the thread that they are bound to. */
    THREAD(Kind.STATE),
    /** A.1: only a platform thread can have a current device. */
    PLATFORM_THREAD(Kind.STATE),
    /** A.1: a descriptor has at least one extent, none negative, and lies within its memory. */
    TENSOR_EXTENTS(Kind.ARGUMENT),
    /** A.1: rows are set within the capacity of the descriptor. */
    TENSOR_ROWS(Kind.ARGUMENT),
    /** Appendix E: rows start at multiples of 16 bytes, other tensors at multiples of their element. */
    ADDRESS(Kind.ARGUMENT),
    /** 3.1, appendix E: every rank's device has room for what is made; without, the library ends the process. */
    DEVICE_MEMORY(Kind.STATE),
    /** A.2, C24: ranks that make a group together have the same configuration, which the library does not compare. */
    SAME_ON_ALL_RANKS(Kind.ARGUMENT),
    /** A.8: streams, memory and windows belong to the device of the group. */
    DEVICE(Kind.ARGUMENT),

    /** A.2: experts, tokens and token bytes are positive. */
    GROUP_SIZES(Kind.ARGUMENT),
    /** A.2: the number of experts is a multiple of the number of ranks. */
    EXPERTS_PER_RANK(Kind.ARGUMENT),
    /** A.2, 3.2: {@code max_token_bytes} is a multiple of 16. */
    TOKEN_BYTES(Kind.ARGUMENT),
    /** Several teams: at most 8 ranks of a host, and 64 in all. */
    TEAM_LIMITS(Kind.ARGUMENT),
    /** Several teams: kernels reach ranks of other teams over the network. */
    GIN(Kind.STATE),
    /** Several teams: a queue pair for each warp that sends, or for each context that kernels use. */
    QUEUE_PAIRS(Kind.ARGUMENT),
    /** Several teams: NCCL EP tells hosts by their names. */
    HOST_NAMES(Kind.STATE),
    /** Several teams: hosts have equally many ranks. */
    HOST_SIZES(Kind.STATE),
    /** Several teams: low latency writes to windows of its own team only. */
    ZERO_COPY_TEAMS(Kind.ARGUMENT),
    /** Several teams: staging is the group's, so that operations of its handles on two streams must be ordered. */
    SHARED_STAGING(Kind.STATE),
    /** The release of the library has the option. */
    GENERATION(Kind.UNSUPPORTED),
    /** A.2, 3.3: the receive budget is at least the number of tokens of a rank. */
    RECEIVE_BUDGET(Kind.ARGUMENT),
    /** A.2: top-k is at most the number of experts. */
    GROUP_TOPK(Kind.ARGUMENT),
    /** A.2, 3.3: without a budget nothing can be dropped. */
    EAGER_DROP(Kind.ARGUMENT),
    /** A.2, 3.3: the largest number of rows of an eager group fits into 32 bits. */
    EAGER_BOUND(Kind.ARGUMENT),
    /** A.2, 3.4: no more SMs than the device has. */
    SMS(Kind.ARGUMENT),
    /** A.2, 3.4: a high-throughput group has barriers for 16 SMs. */
    HT_SMS(Kind.ARGUMENT),
    /** 3.3: low latency counts at most 16,383 rows of one rank for one destination. */
    LL_TOKENS(Kind.ARGUMENT),
    /** A.2, 3.4: a low-latency SM serves at most 14 experts. */
    LL_EXPERTS_PER_SM(Kind.ARGUMENT),
    /** 5.2: the kernels of low latency need two thread blocks, hence two experts and two SMs. */
    LL_BLOCKS(Kind.ARGUMENT),
    /** A.2: high throughput moves expert maps in words of four. */
    HT_EXPERTS_BY_FOUR(Kind.ARGUMENT),
    /** A.2: high throughput moves slot maps in words of four. */
    HT_TOKENS_BY_FOUR(Kind.ARGUMENT),
    /** A.2, 3.8: a timeout is whole milliseconds. */
    TIMEOUT(Kind.ARGUMENT),
    /** A.2: low-latency groups alone have masks. */
    MASK_NEEDS_LL(Kind.ARGUMENT),
    /** A.2, 3.7: the regions of the low-latency buffer are multiples of 16 bytes. */
    LL_REGIONS(Kind.ARGUMENT),
    /** 3.7: an explicit low-latency buffer holds the group's shape. */
    LL_BUFFER(Kind.ARGUMENT),

    /** A.3, 1.6: the layout is one of the algorithm's. */
    LAYOUT(Kind.ARGUMENT),
    /** A.3: top-k is positive, and within what the algorithm and the group can do. */
    TOPK(Kind.ARGUMENT),
    /** 6.5: handles of a low-latency group have one shape. */
    LL_ONE_SHAPE(Kind.ARGUMENT),
    /** A.3: an eager group with EXPERT_MAJOR handles states its top-k. */
    EAGER_TOPK(Kind.ARGUMENT),
    /** A.3, 2.6: modes that duplicate rows need a budget for every top-k entry. */
    DUP_BUDGET(Kind.ARGUMENT),
    /** A.3: the alignment of experts' zones is a power of two. */
    ALIGNMENT(Kind.ARGUMENT),
    /** A.3: when rows are dropped in a duplicating mode, the budget is a multiple of the alignment. */
    DROP_ALIGNMENT(Kind.ARGUMENT),
    /** A.3, 3.10: limits on local experts of EXPERT_MAJOR. */
    EM_EXPERTS(Kind.ARGUMENT),
    /** 3.3: slot maps of the modes that duplicate rows number less than 2^22 rows. */
    EM_ROWS(Kind.ARGUMENT),
    /** 3.3: slot maps of the modes that duplicate rows number 128 ranks. */
    DUP_RANKS(Kind.ARGUMENT),
    /** 5.10: the mode that copies rows on the receiver adds at most eight of a token. */
    DUP_EXPERTS(Kind.ARGUMENT),
    /** A.3, 4.3: caller-owned handle memory is large enough and aligned. */
    HANDLE_MEMORY(Kind.ARGUMENT),

    /** A.4: the routing is {@code [T, K]} with T up to the group's limit. */
    ROUTING_SHAPE(Kind.ARGUMENT),
    /** A.4: the routing is int64 or int32. */
    ROUTING_TYPE(Kind.ARGUMENT),
    /** A.4, 4.6: experts are numbered from 0; negative means none. */
    ROUTING_VALUES(Kind.ARGUMENT),
    /** A.4: low latency takes its layout info in dispatch. */
    LL_UPDATE_INFO(Kind.ARGUMENT),
    /** A.4: counters of a high-throughput update: shape and type. */
    HT_COUNTERS(Kind.ARGUMENT),

    /** A.5, 4.7: dispatch and combine follow an update. */
    UPDATED(Kind.STATE),
    /** A.5: tokens are {@code [T, hidden]} with the T of the last update. */
    DISPATCH_TOKENS(Kind.ARGUMENT),
    /** A.5, A.6: a row, with its scales, fits into {@code max_token_bytes}. */
    ROW_BYTES(Kind.ARGUMENT),
    /** A.5, 5.1: row lengths that the kernels can do. */
    ROW_LENGTH(Kind.ARGUMENT),
    /** A.5, 5.7: types of tokens and scales by recipe. */
    RECIPE_TYPES(Kind.ARGUMENT),
    /** A.5, 5.7: which scales a recipe takes and gives, and their shapes. */
    RECIPE_SCALES(Kind.ARGUMENT),
    /** 5.7: the recipe exists for the algorithm and the device. */
    RECIPE_AVAILABLE(Kind.UNSUPPORTED),
    /** A.5: low latency has the forward pass only. */
    LL_DIRECTION(Kind.ARGUMENT),
    /** A.5, 5.2: the outputs of a low-latency dispatch. */
    LL_OUTPUTS(Kind.ARGUMENT),
    /** A.5, 5.2: routing weights of a low-latency dispatch. */
    LL_WEIGHTS(Kind.ARGUMENT),
    /** A.5, 5.2: the layout info of a low-latency dispatch. */
    LL_INFO(Kind.ARGUMENT),
    /** A.5, 5.8: one send half may be pending in a group. */
    SEND_PENDING(Kind.STATE),
    /** 5.8: a send half and its completion are in the same capture, or both in none. */
    SEND_CAPTURE(Kind.STATE),
    /** 5.4: high throughput has no send halves. */
    HT_SEND_ONLY(Kind.ARGUMENT),
    /** A.5, 5.4: the weights and indices that the direction takes and gives. */
    HT_DIRECTION(Kind.ARGUMENT),
    /** A.5, 2.10: the outputs of a high-throughput dispatch: shapes and types. */
    HT_OUTPUTS(Kind.ARGUMENT),
    /** A.5, 5.5.3: the outputs hold the receive budget. */
    HT_OUTPUT_ROWS(Kind.ARGUMENT),
    /** 5.9: tensors are in windows where the mode demands it. */
    ZERO_COPY_WINDOWS(Kind.ARGUMENT),
    /** A.5, 6.1: an eager group reads counts on the host. */
    EAGER_CAPTURE(Kind.STATE),

    /** A.6: low-latency EXPERT_MAJOR combine reads the routing weights. */
    COMBINE_WEIGHTS(Kind.ARGUMENT),
    /** A.6: shapes of a combine. */
    COMBINE_SHAPE(Kind.ARGUMENT),
    /** A.6: the output of combine has the type of its input. */
    COMBINE_TYPE(Kind.ARGUMENT),
    /** A.6, 5.10: a backward combine has at most the budget's rows. */
    COMBINE_ROWS(Kind.ARGUMENT),
    /** 4.7: a low-latency combine returns what a dispatch brought. */
    DISPATCHED(Kind.STATE),

    /** A.7, 7: masks exist in low-latency groups created with them. */
    MASK(Kind.STATE),
    /** A.7: masks have an entry for every rank. */
    MASK_RANKS(Kind.ARGUMENT),
    /** A.7: a mask is cleaned after the first handle exists. */
    MASK_BUFFER(Kind.STATE);

    private enum Kind {
        ARGUMENT, STATE, UNSUPPORTED
    }

    /** For tests: lets one rule pass, to see what the library makes of it. */
    static volatile @Nullable Rule disabled;

    private final Kind kind;

    Rule(Kind kind) {
        this.kind = kind;
    }

    /**
     * Throws if {@code wrong}. Not for the hot path, where values would be boxed even if nothing is wrong.
     *
     * @param message says what was given and what is allowed, as a {@link String#format format}
     */
    void refuseIf(boolean wrong, String message, @Nullable Object... values) {
        if (wrong && this != disabled) {
            throw exception(text(message, values));
        }
    }

    /** Whether {@code wrong} is to be told. */
    boolean isBroken(boolean wrong) {
        return wrong && this != disabled;
    }

    static String text(String message, @Nullable Object... values) {
        return String.format(Locale.ROOT, message, values);
    }

    RuntimeException exception(String text) {
        return switch (kind) {
            case ARGUMENT -> new IllegalArgumentException(text);
            case STATE -> new IllegalStateException(text);
            case UNSUPPORTED -> new UnsupportedOperationException(text);
        };
    }
}
