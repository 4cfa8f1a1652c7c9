package io.nccl4j.internal;

import java.util.Iterator;
import java.util.function.Function;
import java.util.stream.Stream;

/** Where user code created something: the first frame outside nccl4j. */
final class CreationSite implements Function<Stream<StackWalker.StackFrame>, String> {
    private static final StackWalker WALKER = StackWalker.getInstance();
    private static final CreationSite FIRST = new CreationSite();

    private CreationSite() {
    }

    static String find() {
        return WALKER.walk(FIRST);
    }

    /**
     * No pipeline and no lambdas, which are linked at their first use: every program creates something at its start.
     */
    @Override
    public String apply(Stream<StackWalker.StackFrame> frames) {
        Iterator<StackWalker.StackFrame> all = frames.iterator();
        while (all.hasNext()) {
            StackWalker.StackFrame frame = all.next();
            if (!isOurs(frame.getClassName())) {
                return frame.toString();
            }
        }
        return "unknown";
    }

    private static boolean isOurs(String name) {
        return name.equals("io.nccl4j.NativeObject") || name.startsWith("io.nccl4j.internal.")
                || name.startsWith("io.nccl4j.cuda.") || name.startsWith("io.nccl4j.nccl.")
                || name.startsWith("io.nccl4j.ep.");
    }
}
