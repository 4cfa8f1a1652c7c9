package io.nccl4j.benchmarks.cli;

import java.util.function.Supplier;
import picocli.CommandLine.Option;

/** Output for people or for machines; a mixin. */
public final class OutputOption {
    @Option(names = "--json", description = "Print one JSON object, and nothing else on standard output.")
    private boolean json;

    public boolean isJson() {
        return json;
    }

    /** Prints a result. */
    public void print(Object document, Supplier<String> text) {
        System.out.println(json ? Json.of(document) : text.get());
    }
}
