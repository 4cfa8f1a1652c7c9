package io.nccl4j.examples.moe.http;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonObject;
import com.sun.net.httpserver.HttpExchange;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/** Sends whole answers. */
final class HttpAnswers {
    /** OpenAI's clients expect fields without a value to be there. */
    static final Gson GSON = new GsonBuilder().serializeNulls().create();

    private HttpAnswers() {
    }

    static void json(HttpExchange exchange, int status, JsonObject body) throws IOException {
        send(exchange, status, "application/json; charset=utf-8", GSON.toJson(body));
    }

    /** In the shape of OpenAI's errors. */
    static void failure(HttpExchange exchange, HttpFailure failure) throws IOException {
        JsonObject error = new JsonObject();
        error.addProperty("message", failure.getMessage());
        error.addProperty("type", failure.status() < 500 ? "invalid_request_error" : "server_error");
        error.addProperty("code", failure.status());
        JsonObject body = new JsonObject();
        body.add("error", error);
        json(exchange, failure.status(), body);
    }

    static void send(HttpExchange exchange, int status, String type, String body) throws IOException {
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", type);
        exchange.sendResponseHeaders(status, bytes.length);
        exchange.getResponseBody().write(bytes);
    }
}
