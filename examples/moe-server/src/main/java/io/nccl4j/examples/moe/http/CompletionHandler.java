package io.nccl4j.examples.moe.http;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.sun.net.httpserver.HttpExchange;
import io.nccl4j.examples.moe.model.ModelConfig;
import io.nccl4j.examples.moe.serve.Engine;
import io.nccl4j.examples.moe.serve.EngineException;
import io.nccl4j.examples.moe.serve.Metrics;
import io.nccl4j.examples.moe.serve.Sequence;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/** {@code POST /v1/completions}, whole or as server-sent events. Beside the text a choice has the {@code token_ids}. */
final class CompletionHandler implements JsonHandler {
    private static final int MOST_BODY_BYTES = 1 << 20;
    /** A comment is sent when nothing else is, so that a client that has gone is noticed. */
    private static final long QUIET_SECONDS = 5;

    private final ModelConfig model;
    private final int context;
    private final @Nullable TextCodec codec;
    private final Engine engine;
    private final Metrics metrics;
    private final Gson gson = HttpAnswers.GSON;
    private final AtomicLong numbers = new AtomicLong();

    CompletionHandler(ModelConfig model, int context, @Nullable TextCodec codec, Engine engine, Metrics metrics) {
        this.model = model;
        this.context = context;
        this.codec = codec;
        this.engine = engine;
        this.metrics = metrics;
    }

    @Override
    public void answer(HttpExchange exchange) throws IOException, HttpFailure {
        if (!exchange.getRequestMethod().equals("POST")) {
            exchange.getResponseHeaders().set("Allow", "POST");
            throw new HttpFailure(405, "completions are asked for with POST");
        }
        byte[] body = exchange.getRequestBody().readNBytes(MOST_BODY_BYTES + 1);
        if (body.length > MOST_BODY_BYTES) {
            throw new HttpFailure(413, "the body is longer than " + MOST_BODY_BYTES + " bytes");
        }
        CompletionRequest request = CompletionRequest.parse(new String(body, StandardCharsets.UTF_8), model, context,
                codec);
        Sequence sequence = new Sequence(request.prompt(), request.maxTokens(), request.temperature(), request.seed(),
                request.endTokens());
        submit(sequence);
        metrics.request();
        boolean done = false;
        try {
            Completion completion = new Completion("cmpl-" + numbers.incrementAndGet(), request);
            if (request.stream()) {
                completion.stream(exchange, sequence);
            } else {
                completion.collect(exchange, sequence);
            }
            done = true;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } finally {
            if (!done) {
                sequence.cancel();
            }
        }
    }

    private void submit(Sequence sequence) throws HttpFailure {
        try {
            engine.submit(sequence);
        } catch (EngineException e) {
            throw new HttpFailure(e.reason() == EngineException.Reason.QUEUE_FULL ? 429 : 503, e.getMessage());
        }
    }

    /** The answer to one request. */
    private final class Completion {
        private final String id;
        private final CompletionRequest request;
        private final long created = Instant.now().getEpochSecond();
        private final int[] tokens;
        private int count;
        private String text = "";

        Completion(String id, CompletionRequest request) {
            this.id = id;
            this.request = request;
            this.tokens = new int[request.maxTokens()];
        }

        void collect(HttpExchange exchange, Sequence sequence) throws IOException, HttpFailure, InterruptedException {
            Sequence.Event event;
            do {
                event = sequence.events().take();
                add(event);
            } while (event.end() == null);
            if (event.end() == Sequence.End.ABORTED) {
                throw new HttpFailure(503, "the server has ended before the completion did");
            }
            JsonObject answer = answer(text(true), 0, event.end());
            answer.add("usage", usage());
            HttpAnswers.json(exchange, 200, answer);
        }

        void stream(HttpExchange exchange, Sequence sequence) throws IOException, InterruptedException {
            exchange.getResponseHeaders().set("Content-Type", "text/event-stream; charset=utf-8");
            exchange.getResponseHeaders().set("Cache-Control", "no-store");
            exchange.sendResponseHeaders(200, 0);
            try (OutputStream out = exchange.getResponseBody()) {
                while (true) {
                    Sequence.Event event = sequence.events().poll(QUIET_SECONDS, TimeUnit.SECONDS);
                    if (event == null) {
                        write(out, ": nothing yet\n\n");
                        continue;
                    }
                    int before = count;
                    add(event);
                    JsonObject chunk = answer(text(event.end() != null), before, event.end());
                    if (event.end() != null) {
                        chunk.add("usage", usage());
                    }
                    write(out, "data: " + gson.toJson(chunk) + "\n\n");
                    if (event.end() != null) {
                        write(out, "data: [DONE]\n\n");
                        return;
                    }
                }
            }
        }

        private void write(OutputStream out, String text) throws IOException {
            out.write(text.getBytes(StandardCharsets.UTF_8));
            out.flush();
        }

        private void add(Sequence.Event event) {
            if (event.token() >= 0) {
                tokens[count++] = event.token();
            }
        }

        /** The characters that were added to the text; those whose last token is still to come are kept back. */
        private String text(boolean last) {
            if (codec == null) {
                return "";
            }
            String now = codec.decode(tokens, count);
            if (!last && now.endsWith("\ufffd")) {
                return "";
            }
            String added = now.startsWith(text) ? now.substring(text.length()) : now;
            text = now;
            return added;
        }

        private JsonObject answer(String added, int firstToken, Sequence.@Nullable End end) {
            JsonObject choice = new JsonObject();
            choice.addProperty("index", 0);
            choice.addProperty("text", added);
            JsonArray ids = new JsonArray();
            for (int i = firstToken; i < count; i++) {
                ids.add(tokens[i]);
            }
            choice.add("token_ids", ids);
            choice.add("logprobs", JsonNull.INSTANCE);
            if (end == null) {
                choice.add("finish_reason", JsonNull.INSTANCE);
            } else {
                choice.addProperty("finish_reason", reason(end));
            }
            JsonArray choices = new JsonArray();
            choices.add(choice);
            JsonObject answer = new JsonObject();
            answer.addProperty("id", id);
            answer.addProperty("object", "text_completion");
            answer.addProperty("created", created);
            answer.addProperty("model", model.name());
            answer.add("choices", choices);
            return answer;
        }

        private static String reason(Sequence.End end) {
            return switch (end) {
                case LENGTH -> "length";
                case STOP -> "stop";
                case CANCELLED, ABORTED -> "abort";
            };
        }

        private JsonObject usage() {
            JsonObject usage = new JsonObject();
            usage.addProperty("prompt_tokens", request.prompt().length);
            usage.addProperty("completion_tokens", count);
            usage.addProperty("total_tokens", request.prompt().length + count);
            return usage;
        }
    }
}
