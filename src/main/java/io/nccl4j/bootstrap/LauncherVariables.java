package io.nccl4j.bootstrap;

import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Environment variables of launchers; a wrong value is reported with its name. */
record LauncherVariables(Map<String, String> values) {
    boolean has(String name) {
        return get(name) != null;
    }

    /** Null if it is not set or blank. */
    @Nullable
    String get(String name) {
        String value = values.get(name);
        return value == null || value.isBlank() ? null : value.strip();
    }

    String orElse(String name, String other) {
        String value = get(name);
        return value == null ? other : value;
    }

    int number(String name) {
        String value = get(name);
        if (value == null) {
            throw new IllegalStateException(name + " is not set");
        }
        return parse(name, value);
    }

    @Nullable
    Integer numberOrNull(String name) {
        String value = get(name);
        return value == null ? null : parse(name, value);
    }

    static int parse(String name, String value) {
        try {
            return Integer.parseInt(value);
        } catch (NumberFormatException e) {
            throw new IllegalStateException(name + " holds '" + value + "': must be a number", e);
        }
    }
}
