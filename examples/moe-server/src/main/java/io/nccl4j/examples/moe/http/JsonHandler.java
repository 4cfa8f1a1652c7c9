package io.nccl4j.examples.moe.http;

import com.sun.net.httpserver.HttpExchange;
import java.io.IOException;

/** Answers a request, or says why not. */
@FunctionalInterface
interface JsonHandler {
    void answer(HttpExchange exchange) throws IOException, HttpFailure;
}
