package io.nccl4j.examples.moe.load;

import java.io.IOException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.Iterator;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/** Asks and measures: a virtual thread per request, no more of them at once than there are clients. */
final class LoadRun {
    private static final Duration LIMIT = Duration.ofMinutes(10);

    private final LoadPlan plan;
    private final LoadReport report;
    private final HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(Duration.ofSeconds(10)).build();

    LoadRun(LoadPlan plan) {
        this.plan = plan;
        this.report = new LoadReport(plan);
    }

    LoadReport run() throws InterruptedException {
        Semaphore free = new Semaphore(plan.clients());
        Random arrivals = new Random(plan.seed());
        long begin = System.nanoTime();
        double due = 0;
        try (client; ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
            for (int number = 0; number < plan.requests(); number++) {
                int request = number;
                if (plan.rate() > 0) {
                    due += -Math.log(1 - arrivals.nextDouble()) / plan.rate();
                    TimeUnit.NANOSECONDS.sleep(Math.max(0, begin + (long) (due * 1e9) - System.nanoTime()));
                }
                // With a rate, the wait for a free client counts as time to the first token.
                long arrived = System.nanoTime();
                free.acquire();
                long asked = plan.rate() > 0 ? arrived : System.nanoTime();
                threads.execute(() -> {
                    try {
                        ask(request, asked);
                    } finally {
                        free.release();
                    }
                });
            }
        }
        report.finish(System.nanoTime() - begin);
        return report;
    }

    private void ask(int number, long asked) {
        HttpRequest request = HttpRequest.newBuilder(plan.url().resolve("/v1/completions")).timeout(LIMIT)
                .header("Content-Type", "application/json").POST(HttpRequest.BodyPublishers.ofString(plan.body(number)))
                .build();
        try {
            HttpResponse<Stream<String>> response = client.send(request, HttpResponse.BodyHandlers.ofLines());
            try (Stream<String> lines = response.body()) {
                if (response.statusCode() != 200) {
                    report.failure(response.statusCode() + " " + lines.findFirst().orElse(""));
                    return;
                }
                read(lines.iterator(), asked);
            }
        } catch (IOException e) {
            report.failure(e.toString());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private void read(Iterator<String> lines, long asked) {
        long first = 0;
        long last = 0;
        int tokens = 0;
        while (lines.hasNext()) {
            String line = lines.next();
            if (line.startsWith("data: {")) {
                last = System.nanoTime();
                first = first == 0 ? last : first;
                tokens++;
            }
        }
        if (tokens == plan.output()) {
            report.success(first - asked, last - first, last - asked, tokens);
        } else {
            report.failure("a completion of " + tokens + " tokens for " + plan.output());
        }
    }
}
