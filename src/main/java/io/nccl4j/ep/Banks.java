package io.nccl4j.ep;

/**
 * The two buffers of a low-latency group of NCCL EP 0.1.0, which its operations use in turn: each clears the other one for the next. The
 * library keeps the turn in the handle, and in a graph what it was at capture; so what runs after an odd number of operations elsewhere
 * would use the buffer of the operation before.
 */
final class Banks {
    private int last = 1;

    /** Refuses an operation, or the first one of a graph, that would not take turns. */
    void check(int bank, Object what) {
        // What a message is made of would be allocated by every call.
        if (bank == last) {
            Rule.V1_CAPTURE_PARITY.require(false,
                    "%s would use the buffer of the operation before: with NCCL EP 0.1.0 the operations of a handle before a graph is "
                            + "launched, or another handle is used, must be even in number, as dispatch and combine",
                    what);
        }
    }

    /** An operation, or the last one of a graph, was enqueued. */
    void ran(int bank) {
        last = bank;
    }
}
