package io.nccl4j.benchmarks.cluster;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.testing.LayerKind;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

class HtmlReportTest {
    private static final Figures LINE = new Figures("ll", "expert_major", "graph", "both", 2, 128, 1, 2, 3, 4, 1.5, 10,
            20, 19, 21);

    @TempDir
    private Path folder;

    private static JsonObject data(String page) {
        String start = "<script id=\"data\" type=\"application/json\">";
        int at = page.indexOf(start) + start.length();
        return JsonParser.parseString(page.substring(at, page.indexOf("</script>", at))).getAsJsonObject();
    }

    @Test
    void theDataIsInThePageAndCannotLeaveItsElement() throws IOException {
        JsonArray previous = new Gson().toJsonTree(List.of(LINE)).getAsJsonArray();
        JsonObject data = data(HtmlReport.of(Map.of("backend", "</script><b>"), List.of(LINE), previous));
        assertThat(data.getAsJsonObject("facts").get("backend").getAsString()).isEqualTo("</script><b>");
        assertThat(data.get("figures")).isEqualTo(previous);
        assertThat(data.get("previous")).isEqualTo(previous);
    }

    @Test
    void thePageNeedsNoNetwork() throws IOException {
        String page = HtmlReport.of(Map.of(), List.of(LINE), null);
        assertThat(page).contains("Apache Software Foundation").doesNotContain("/*CHARTS*/", "/*DATA*/")
                .doesNotContainPattern("<(script|link|iframe)[^>]* (src|href)=")
                .doesNotContain("<link", "@import", "fetch(");
    }

    private HtmlOption parsed(String... arguments) {
        HtmlOption option = new HtmlOption();
        CommandLine.Model.CommandSpec spec = CommandLine.Model.CommandSpec.create();
        spec.addMixin("html", CommandLine.Model.CommandSpec.forAnnotatedObject(option));
        new CommandLine(spec).parseArgs(arguments);
        return option;
    }

    @Test
    void aReportMeasuresFewerTokensToo() {
        HtmlOption option = parsed("--html", folder.resolve("report.html").toString());
        assertThat(option.sweep(List.of(LayerShape.bfloat16(LayerKind.LL_EXPERT_MAJOR, 2, 8, 2, 24, 512))))
                .extracting(shape -> shape.sizes().maxTokens()).containsExactly(1, 3, 6, 12, 24);
        // Two ranks need an even number of tokens in high throughput.
        assertThat(option.sweep(List.of(LayerShape.bfloat16(LayerKind.HT_FLAT, 2, 8, 2, 24, 512))))
                .extracting(shape -> shape.sizes().maxTokens()).containsExactly(6, 12, 24);
        List<LayerShape> one = List.of(LayerShape.bfloat16(LayerKind.HT_FLAT, 2, 8, 2, 24, 512));
        assertThat(parsed().sweep(one)).isEqualTo(one);
    }

    @Test
    void theEarlierRunIsItsJson() throws IOException {
        Path earlier = folder.resolve("earlier.json");
        Path report = folder.resolve("report.html");
        Files.writeString(earlier, ClusterReport.of(ClusterOptions.Format.JSON, List.of(LINE)));
        parsed("--html", report.toString(), "--previous", earlier.toString()).write(Map.of(), List.of(LINE));
        assertThat(data(Files.readString(report)).getAsJsonArray("previous")).hasSize(1);
    }
}
