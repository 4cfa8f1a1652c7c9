package io.nccl4j.benchmarks.cli;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;

/** Machine-readable output: records, maps and lists as JSON on one line. */
public final class Json {
    private static final Gson GSON = new GsonBuilder().disableHtmlEscaping().create();

    private Json() {
    }

    public static String of(Object value) {
        return GSON.toJson(value);
    }
}
