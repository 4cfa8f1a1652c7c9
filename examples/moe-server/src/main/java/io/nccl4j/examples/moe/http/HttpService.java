package io.nccl4j.examples.moe.http;

import com.google.gson.JsonObject;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.nccl4j.examples.moe.model.ModelConfig;
import io.nccl4j.examples.moe.model.ModelException;
import io.nccl4j.examples.moe.serve.Engine;
import io.nccl4j.examples.moe.serve.Metrics;
import java.io.IOException;
import java.net.BindException;
import java.net.InetSocketAddress;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The JDK's HTTP server, a virtual thread per request. */
public final class HttpService implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(HttpService.class);

    private static final long MOMENT_MILLIS = 200;

    private final HttpServer server;
    private final ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();

    private HttpService(HttpServer server) {
        this.server = server;
        server.setExecutor(threads);
    }

    /** Binds the address, so that a port in use is known before anything is loaded; answers nothing yet. */
    public static HttpService bind(InetSocketAddress address) {
        if (address.isUnresolved()) {
            throw new ModelException("--host " + address.getHostString() + " is unknown");
        }
        try {
            return new HttpService(HttpServer.create(address, 1024));
        } catch (BindException e) {
            throw new ModelException("port " + address.getPort() + " of " + address.getHostString() + " cannot be had: "
                    + e.getMessage(), e);
        } catch (IOException e) {
            throw new ModelException(address + " cannot be served: " + e.getMessage(), e);
        }
    }

    /** Begins to answer. */
    public void start(ModelConfig model, int context, @Nullable TextCodec codec, Engine engine, Metrics metrics) {
        handle("/v1/completions", metrics, new CompletionHandler(model, context, codec, engine, metrics));
        handle("/health", metrics, exchange -> health(exchange, model, engine));
        handle("/metrics", metrics, exchange -> HttpAnswers.send(exchange, 200,
                "text/plain; version=0.0.4; charset=utf-8", metrics.text(engine)));
        handle("/", metrics, exchange -> {
            throw new HttpFailure(404, "there is no " + exchange.getRequestURI().getPath()
                    + " here: /v1/completions, /health and /metrics are");
        });
        server.start();
    }

    /** Where it is bound. */
    public InetSocketAddress address() {
        return server.getAddress();
    }

    private void handle(String path, Metrics metrics, JsonHandler handler) {
        server.createContext(path, exchange -> {
            try (exchange) {
                answer(path, exchange, metrics, handler);
            } catch (RuntimeException e) {
                LOG.error("{} has failed", path, e);
            }
        });
    }

    private static void answer(String path, HttpExchange exchange, Metrics metrics, JsonHandler handler)
            throws IOException {
        try {
            String asked = exchange.getRequestURI().getPath();
            if (!path.equals("/") && !asked.equals(path)) {
                throw new HttpFailure(404, "there is no " + asked + " here");
            }
            handler.answer(exchange);
        } catch (HttpFailure e) {
            metrics.refusal();
            HttpAnswers.failure(exchange, e);
        }
    }

    private static void health(HttpExchange exchange, ModelConfig model, Engine engine) throws IOException {
        JsonObject body = new JsonObject();
        int live = engine.liveRanks();
        String status = engine.isDraining() || live == 0 ? "ending" : live < engine.size() ? "degraded" : "ok";
        body.addProperty("status", status);
        body.addProperty("model", model.name());
        body.addProperty("ranks", engine.size());
        body.addProperty("live_ranks", live);
        JsonObject lost = new JsonObject();
        engine.lostRanks().forEach((rank, reason) -> lost.addProperty(rank.toString(), reason));
        body.add("lost_ranks", lost);
        HttpAnswers.json(exchange, status.equals("ending") ? 503 : 200, body);
    }

    /**
     * Answers nothing any more. What is being answered has a moment to be sent, since all of it is there when the
     * engine has ended.
     */
    public void stop() {
        threads.shutdown();
        try {
            threads.awaitTermination(MOMENT_MILLIS, TimeUnit.MILLISECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        server.stop(0);
        threads.shutdownNow();
    }

    @Override
    public void close() {
        stop();
    }
}
