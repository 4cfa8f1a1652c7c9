package io.nccl4j.benchmarks.cluster;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The figures as a page with charts: report.html with the data and the charts' library in it. */
final class HtmlReport {
    private static final String CHARTS = "/META-INF/resources/webjars/echarts/5.3.1/dist/echarts.min.js";
    /** Escapes what could end the script element. */
    private static final Gson GSON = new Gson();

    private HtmlReport() {
    }

    /**
     * @param facts what was measured, for the head of the page
     * @param previous figures of an earlier run
     */
    static String of(Map<String, String> facts, List<Figures> figures, @Nullable JsonArray previous)
            throws IOException {
        Map<String, Object> data = new LinkedHashMap<>();
        data.put("facts", facts);
        data.put("figures", figures);
        data.put("previous", previous == null ? new JsonArray() : previous);
        return resource("report.html").replace("/*CHARTS*/", resource(CHARTS)).replace("/*DATA*/", GSON.toJson(data));
    }

    private static String resource(String name) throws IOException {
        try (InputStream in = HtmlReport.class.getResourceAsStream(name)) {
            if (in == null) {
                throw new IOException(name + " is not on the class path");
            }
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        }
    }
}
