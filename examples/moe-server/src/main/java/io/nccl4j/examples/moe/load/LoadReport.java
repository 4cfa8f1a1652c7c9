package io.nccl4j.examples.moe.load;

import com.google.gson.GsonBuilder;
import com.google.gson.JsonObject;
import java.util.Locale;
import org.HdrHistogram.Histogram;

/** The measurements. Thread-safe. */
final class LoadReport {
    private final LoadPlan plan;
    private final Histogram first = new Histogram(3);
    private final Histogram perToken = new Histogram(3);
    private final Histogram whole = new Histogram(3);
    private long tokens;
    private int failures;
    private String firstFailure = "";
    private double seconds;

    LoadReport(LoadPlan plan) {
        this.plan = plan;
    }

    synchronized void success(long firstNanos, long restNanos, long wholeNanos, int count) {
        first.recordValue(firstNanos / 1000);
        if (count > 1) {
            perToken.recordValue(restNanos / 1000 / (count - 1));
        }
        whole.recordValue(wholeNanos / 1000);
        tokens += count;
    }

    synchronized void failure(String reason) {
        if (failures++ == 0) {
            firstFailure = reason;
        }
    }

    synchronized void finish(long nanos) {
        seconds = nanos / 1e9;
    }

    synchronized int failures() {
        return failures;
    }

    synchronized String table() {
        StringBuilder table = new StringBuilder();
        table.append(String.format(Locale.ROOT, "%d requests, %d clients, %d + %d tokens, %.2f s, %d failures%n",
                plan.requests(), plan.clients(), plan.prompt(), plan.output(), seconds, failures));
        if (failures > 0) {
            table.append("first failure: ").append(firstFailure).append('\n');
        }
        table.append(String.format(Locale.ROOT, "%.1f tokens/s, %.2f requests/s%n", tokens / seconds,
                whole.getTotalCount() / seconds));
        table.append(String.format("| %-20s | %9s | %9s | %9s |%n", "milliseconds", "p50", "p99", "max"));
        row(table, "time to first token", first);
        row(table, "time per token", perToken);
        row(table, "whole request", whole);
        return table.toString();
    }

    private static void row(StringBuilder table, String name, Histogram micros) {
        table.append(String.format(Locale.ROOT, "| %-20s | %9.2f | %9.2f | %9.2f |%n", name,
                micros.getValueAtPercentile(50) / 1e3, micros.getValueAtPercentile(99) / 1e3,
                micros.getMaxValue() / 1e3));
    }

    synchronized String json() {
        JsonObject json = new JsonObject();
        json.addProperty("requests", plan.requests());
        json.addProperty("clients", plan.clients());
        json.addProperty("prompt_tokens", plan.prompt());
        json.addProperty("output_tokens", plan.output());
        json.addProperty("seconds", seconds);
        json.addProperty("failures", failures);
        json.addProperty("tokens_per_second", tokens / seconds);
        json.addProperty("requests_per_second", whole.getTotalCount() / seconds);
        json.add("time_to_first_token_ms", quantiles(first));
        json.add("time_per_token_ms", quantiles(perToken));
        json.add("whole_request_ms", quantiles(whole));
        return new GsonBuilder().setPrettyPrinting().create().toJson(json) + "\n";
    }

    private static JsonObject quantiles(Histogram micros) {
        JsonObject json = new JsonObject();
        json.addProperty("p50", micros.getValueAtPercentile(50) / 1e3);
        json.addProperty("p99", micros.getValueAtPercentile(99) / 1e3);
        json.addProperty("max", micros.getMaxValue() / 1e3);
        return json;
    }
}
