package io.nccl4j.examples.moe.reference;

import io.nccl4j.emulator.Emulator;
import io.nccl4j.examples.moe.http.HttpService;
import io.nccl4j.examples.moe.rank.Ranks;
import io.nccl4j.examples.moe.serve.Engine;
import io.nccl4j.examples.moe.serve.Metrics;
import io.nccl4j.examples.moe.serve.ServeLimits;
import io.nccl4j.examples.moe.step.RankOptions;
import io.nccl4j.examples.moe.step.StepMode;
import java.net.InetSocketAddress;
import java.net.URI;
import java.time.Duration;

/** The whole server on the emulator, ranks as threads. */
final class EmulatedServer implements AutoCloseable {
    static final int CONTEXT = 64;
    private static final Duration LIMIT = Duration.ofSeconds(60);

    private final Engine engine;
    private final HttpService http;

    EmulatedServer(String model, int ranks, StepMode mode) {
        Emulator.use();
        RankOptions options = new RankOptions(model, 0, 1, ranks, 8, 8, CONTEXT, mode, false, 20_000);
        Metrics metrics = new Metrics();
        engine = new Engine(options, new ServeLimits(100, 5, LIMIT), Ranks.threads(options, LIMIT), metrics);
        http = HttpService.bind(new InetSocketAddress("127.0.0.1", 0));
        http.start(options.config(), CONTEXT, null, engine, metrics);
    }

    URI uri() {
        return URI.create("http://127.0.0.1:" + http.address().getPort());
    }

    @Override
    public void close() {
        engine.close(LIMIT);
        http.close();
    }
}
