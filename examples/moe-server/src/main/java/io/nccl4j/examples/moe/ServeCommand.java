package io.nccl4j.examples.moe;

import io.nccl4j.examples.moe.http.HttpService;
import io.nccl4j.examples.moe.http.TextCodec;
import io.nccl4j.examples.moe.model.ModelConfig;
import io.nccl4j.examples.moe.model.ModelException;
import io.nccl4j.examples.moe.rank.Rank;
import io.nccl4j.examples.moe.rank.Ranks;
import io.nccl4j.examples.moe.serve.Engine;
import io.nccl4j.examples.moe.serve.Metrics;
import io.nccl4j.examples.moe.serve.ServeLimits;
import io.nccl4j.examples.moe.step.RankOptions;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code serve}: the HTTP server. */
@Command(name = "serve", mixinStandardHelpOptions = true, description = "Serves completions over HTTP until SIGTERM.")
final class ServeCommand implements Callable<Integer> {
    @Mixin
    private ModelOptions model;

    @Option(names = "--host", defaultValue = "127.0.0.1",
            description = "Address to listen on; there is no " + "authentication (default: ${DEFAULT-VALUE}).")
    private String host;

    @Option(names = "--port", defaultValue = "8000", description = "0 for any (default: ${DEFAULT-VALUE}).")
    private int port;

    @Option(names = "--processes", description = "A process per rank: a rank that dies is left out, the others go on.")
    private boolean processes;

    @Option(names = "--queue", defaultValue = "256",
            description = "Most requests that wait; more are " + "answered with 429 (default: ${DEFAULT-VALUE}).")
    private int queue;

    @Option(names = "--prefill-rows", defaultValue = "64",
            description = "Most rows of a step on a rank for " + "prompts (default: ${DEFAULT-VALUE}).")
    private int prefillRows;

    @Option(names = "--drain", defaultValue = "30",
            description = "Seconds that running requests have to end " + "after SIGTERM (default: ${DEFAULT-VALUE}).")
    private int drainSeconds;

    @Option(names = "--start-limit", defaultValue = "600",
            description = "Seconds within which all ranks must " + "be ready (default: ${DEFAULT-VALUE}).")
    private int startSeconds;

    @Override
    public Integer call() throws InterruptedException {
        RankOptions options = model.rankOptions();
        ModelConfig config = options.config();
        check("--port", port, 0, 65_535);
        check("--queue", queue, 1, 1_000_000);
        check("--prefill-rows", prefillRows, 1, 1024);
        try (TextCodec codec = options.isNamedShape() ? null : TextCodec.find(Path.of(options.model()));
                HttpService http = HttpService.bind(new InetSocketAddress(host, port))) {
            List<Rank> ranks = start(options);
            Metrics metrics = new Metrics();
            Engine engine = new Engine(options,
                    new ServeLimits(queue, prefillRows, Duration.ofSeconds(60).plusMillis(options.timeoutMillis())),
                    ranks, metrics);
            CountDownLatch ended = new CountDownLatch(1);
            Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                engine.close(Duration.ofSeconds(drainSeconds));
                http.stop();
                ended.countDown();
            }, "shutdown"));
            http.start(config, options.context(), codec, engine, metrics);
            System.out.println("serving " + config.name() + " on " + options.ranks() + " ranks at http://"
                    + http.address().getHostString() + ":" + http.address().getPort());
            ended.await();
            return 0;
        }
    }

    private static void check(String option, int value, int least, int most) {
        if (value < least || value > most) {
            throw new ModelException(option + " " + value + ": must be " + least + " to " + most);
        }
    }

    private List<Rank> start(RankOptions options) {
        Duration limit = Duration.ofSeconds(startSeconds);
        if (processes) {
            return Ranks.processes(options, model.backend(), limit);
        }
        BackendChoice.use(model.backend());
        return Ranks.threads(options, limit);
    }
}
