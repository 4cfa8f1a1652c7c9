package io.nccl4j.ep;

import java.util.ArrayList;
import java.util.List;

/** The handles that repeat a call with one tensor or struct, and must look at it again when its rows have changed. */
final class Repeaters {
    private final List<RepeatableCalls> handles = new ArrayList<>(1);

    void add(RepeatableCalls handle) {
        if (!handles.contains(handle)) {
            // The first dispatch of a program need not link this.
            if (!handles.isEmpty()) {
                handles.removeIf(RepeatableCalls::isClosed);
            }
            handles.add(handle);
        }
    }

    /** No iterator: this is on the path of every step whose number of tokens changes. */
    void forgetCalls() {
        for (int i = 0; i < handles.size(); i++) {
            handles.get(i).forgetCalls();
        }
        handles.clear();
    }
}
