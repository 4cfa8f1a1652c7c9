package io.nccl4j.examples.moe.serve;

import java.util.Locale;
import java.util.concurrent.atomic.LongAdder;
import org.HdrHistogram.ConcurrentHistogram;
import org.HdrHistogram.Histogram;

/** Counters of the server's work, as text in Prometheus's format. Thread-safe. */
public final class Metrics {
    private static final double[] QUANTILES = {0.5, 0.9, 0.99};

    private final LongAdder requests = new LongAdder();
    private final LongAdder refused = new LongAdder();
    private final LongAdder sampledTokens = new LongAdder();
    private final LongAdder rows = new LongAdder();
    private final LongAdder lostRanks = new LongAdder();
    private final Histogram stepMicros = new ConcurrentHistogram(3);

    public void request() {
        requests.increment();
    }

    public void refusal() {
        refused.increment();
    }

    void step(long micros, int stepRows, int sampled) {
        stepMicros.recordValue(Math.max(0, micros));
        rows.add(stepRows);
        sampledTokens.add(sampled);
    }

    void lostRank() {
        lostRanks.increment();
    }

    /** All of it, with what the engine holds now. */
    public String text(Engine engine) {
        StringBuilder text = new StringBuilder();
        counter(text, "moe_requests_total", "requests that were taken on", requests.sum());
        counter(text, "moe_refused_requests_total", "requests answered with 4xx or 503", refused.sum());
        counter(text, "moe_sampled_tokens_total", "tokens sampled for clients", sampledTokens.sum());
        counter(text, "moe_rows_total", "rows of all steps, prompts included", rows.sum());
        counter(text, "moe_lost_ranks_total", "ranks that were left out", lostRanks.sum());
        gauge(text, "moe_waiting_sequences", "sequences that wait for a slot", engine.waiting());
        gauge(text, "moe_running_sequences", "sequences with a slot", engine.running());
        gauge(text, "moe_live_ranks", "ranks that take part", engine.liveRanks());
        text.append("# HELP moe_step_seconds time of a step as the engine sees it\n# TYPE moe_step_seconds summary\n");
        for (double quantile : QUANTILES) {
            text.append(String.format(Locale.ROOT, "moe_step_seconds{quantile=\"%s\"} %.6f%n", quantile,
                    stepMicros.getValueAtPercentile(100 * quantile) / 1e6));
        }
        text.append("moe_step_seconds_count ").append(stepMicros.getTotalCount()).append('\n');
        return text.toString();
    }

    private static void counter(StringBuilder text, String name, String help, long value) {
        append(text, name, help, "counter", value);
    }

    private static void gauge(StringBuilder text, String name, String help, long value) {
        append(text, name, help, "gauge", value);
    }

    private static void append(StringBuilder text, String name, String help, String type, long value) {
        text.append("# HELP ").append(name).append(' ').append(help).append("\n# TYPE ").append(name).append(' ')
                .append(type).append('\n').append(name).append(' ').append(value).append('\n');
    }
}
