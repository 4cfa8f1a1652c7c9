package io.nccl4j.internal;

import java.util.function.Consumer;

/** The values of an immutable configuration, which nobody changes once a configuration has them: copies are changed. */
public abstract class ConfigValues implements Cloneable {
    /** A copy of {@code values} with the change. */
    @SuppressWarnings("unchecked")
    public static <V extends ConfigValues> V changed(V values, Consumer<V> change) {
        try {
            V copy = (V) values.clone();
            change.accept(copy);
            return copy;
        } catch (CloneNotSupportedException e) {
            throw new AssertionError(e);
        }
    }
}
