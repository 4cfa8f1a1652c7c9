package io.nccl4j.ep;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The rules that a configuration breaks, told together: its author mends all of them at once. */
final class Violations {
    private final List<String> texts = new ArrayList<>();
    private @Nullable Rule first;

    /** Notes the rule if {@code wrong}. */
    void addIf(Rule rule, boolean wrong, String message, @Nullable Object... values) {
        if (rule.isBroken(wrong)) {
            String text = Rule.text(message, values);
            if (!texts.contains(text)) {
                texts.add(text);
            }
            first = first == null ? rule : first;
        }
    }

    boolean isEmpty() {
        return texts.isEmpty();
    }

    /** Throws for the first rule, with the messages of all; does nothing if none is broken. */
    void refuse() {
        if (first != null) {
            throw first.exception(texts.size() == 1
                    ? texts.getFirst()
                    : texts.size() + " rules are broken: " + String.join("; ", texts));
        }
    }
}
