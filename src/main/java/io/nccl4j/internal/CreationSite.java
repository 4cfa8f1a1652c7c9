package io.nccl4j.internal;

/** Where user code created something: the first frame outside nccl4j. */
final class CreationSite {
    private static final StackWalker WALKER = StackWalker.getInstance();

    private CreationSite() {
    }

    static String find() {
        return WALKER.walk(frames -> frames.filter(frame -> !isOurs(frame.getClassName())).findFirst()
                .map(StackWalker.StackFrame::toString).orElse("unknown"));
    }

    private static boolean isOurs(String name) {
        return name.startsWith("io.nccl4j.internal.") || name.startsWith("io.nccl4j.cuda.")
                || name.startsWith("io.nccl4j.nccl.") || name.startsWith("io.nccl4j.ep.");
    }
}
