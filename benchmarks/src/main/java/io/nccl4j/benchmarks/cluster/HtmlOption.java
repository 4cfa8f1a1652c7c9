package io.nccl4j.benchmarks.cluster;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.oracle.EpShape;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** A report for a browser; a mixin. */
public final class HtmlOption {
    /** From a sixteenth of the tokens to all of them. */
    private static final int HALVINGS = 4;

    @Option(names = "--html", paramLabel = "FILE",
            description = "Also write a report with charts, one file that needs no network. Measures a sixteenth of "
                    + "--tokens, an eighth, ... and all.")
    private @Nullable Path file;

    @Option(names = "--previous", paramLabel = "FILE",
            description = "An earlier run's output of --json, drawn beside this one; only with --html.")
    private @Nullable Path previous;

    /** Whether a report is wanted. */
    public boolean isAsked() {
        return file != null;
    }

    /** Refuses what makes no sense before anything is measured. */
    void check(Usage usage) {
        usage.require(previous == null || file != null, "--previous: only with --html");
        Path folder = file == null ? null : file.toAbsolutePath().getParent();
        usage.require(folder == null || Files.isDirectory(folder), "--html %s: there is no folder %s", file, folder);
        if (previous != null) {
            try {
                readPrevious(previous);
            } catch (IOException | JsonParseException | IllegalStateException e) {
                usage.require(false, "--previous %s: is no output of --json: %s", previous, e.getMessage());
            }
        }
    }

    /** The same layers with fewer tokens too, fewest first, where a report is wanted. */
    List<LayerShape> sweep(List<LayerShape> shapes) {
        if (file == null) {
            return shapes;
        }
        List<LayerShape> all = new ArrayList<>();
        for (LayerShape shape : shapes) {
            EpShape sizes = shape.sizes();
            for (int shift = HALVINGS; shift >= 0; shift--) {
                int tokens = sizes.maxTokens() >> shift;
                // High throughput moves slot maps in words of four.
                if (tokens > 0 && (shape.kind().isLowLatency() || tokens * sizes.ranks() % 4 == 0)) {
                    all.add(new LayerShape(shape.kind(),
                            new EpShape(sizes.ranks(), sizes.experts(), sizes.topK(), tokens), shape.rows()));
                }
            }
        }
        return all;
    }

    /** Writes the report, if one is wanted. */
    void write(Map<String, String> facts, List<Figures> figures) {
        if (file == null) {
            return;
        }
        try {
            Files.writeString(file, HtmlReport.of(facts, figures, previous == null ? null : readPrevious(previous)));
        } catch (IOException e) {
            throw new UncheckedIOException("the report cannot be written: " + e.getMessage(), e);
        }
    }

    private static JsonArray readPrevious(Path from) throws IOException {
        JsonObject document = JsonParser.parseString(Files.readString(from)).getAsJsonObject();
        if (!document.has("figures")) {
            throw new JsonParseException("no figures in it");
        }
        return document.getAsJsonArray("figures");
    }
}
