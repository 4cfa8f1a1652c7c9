package io.nccl4j.examples.moe.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.nccl4j.examples.moe.model.ModelConfig;
import io.nccl4j.examples.moe.model.ModelException;
import io.nccl4j.examples.moe.model.NamedShapes;
import io.nccl4j.examples.moe.rank.Rank;
import io.nccl4j.examples.moe.serve.Engine;
import io.nccl4j.examples.moe.serve.Metrics;
import io.nccl4j.examples.moe.serve.ServeLimits;
import io.nccl4j.examples.moe.serve.TestRanks;
import io.nccl4j.examples.moe.step.RankOptions;
import io.nccl4j.examples.moe.step.StepMode;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Requests and answers; the model behind is a scripted one. */
@Timeout(30)
class HttpServiceTest {
    private static final ModelConfig MODEL = NamedShapes.of("tiny");
    private static final int CONTEXT = 64;

    private final HttpClient client = HttpClient.newHttpClient();
    private HttpService service;
    private Engine engine;
    private URI uri;

    @BeforeEach
    void start() {
        RankOptions options = new RankOptions("tiny", 0, 1, 1, 8, 4, CONTEXT, StepMode.GRAPH, false, 1000);
        List<Rank> ranks = new ArrayList<>(List.of(TestRanks.scripted()));
        Metrics metrics = new Metrics();
        engine = new Engine(options, new ServeLimits(16, 8, Duration.ofSeconds(10)), ranks, metrics);
        service = HttpService.bind(new InetSocketAddress("127.0.0.1", 0));
        service.start(MODEL, CONTEXT, null, engine, metrics);
        uri = URI.create("http://127.0.0.1:" + service.address().getPort());
    }

    @AfterEach
    void stop() {
        engine.close(Duration.ofSeconds(5));
        service.close();
        client.close();
    }

    private HttpResponse<String> post(String body) throws Exception {
        return client.send(HttpRequest.newBuilder(uri.resolve("/v1/completions"))
                .POST(HttpRequest.BodyPublishers.ofString(body)).build(), HttpResponse.BodyHandlers.ofString());
    }

    private HttpResponse<String> get(String path) throws Exception {
        return client.send(HttpRequest.newBuilder(uri.resolve(path)).build(), HttpResponse.BodyHandlers.ofString());
    }

    @Test
    void completes() throws Exception {
        HttpResponse<String> response = post(
                "{\"prompt\":[1,2,3],\"max_tokens\":4,\"temperature\":0,\"model\":\"tiny\"}");
        assertThat(response.statusCode()).isEqualTo(200);
        JsonObject body = JsonParser.parseString(response.body()).getAsJsonObject();
        JsonObject choice = body.getAsJsonArray("choices").get(0).getAsJsonObject();
        assertThat(ids(choice)).containsExactly(6, 12, 24, 48);
        assertThat(choice.get("finish_reason").getAsString()).isEqualTo("length");
        assertThat(body.getAsJsonObject("usage").get("total_tokens").getAsInt()).isEqualTo(7);
    }

    private static List<Integer> ids(JsonObject choice) {
        JsonArray ids = choice.getAsJsonArray("token_ids");
        return ids.asList().stream().map(id -> id.getAsInt()).toList();
    }

    @Test
    void streams() throws Exception {
        HttpResponse<String> response = post("{\"prompt\":[1,2,3],\"max_tokens\":4,\"stream\":true}");
        assertThat(response.headers().firstValue("Content-Type")).hasValue("text/event-stream; charset=utf-8");
        List<String> events = response.body().lines().filter(line -> line.startsWith("data: ")).toList();
        assertThat(events).hasSize(5).last().isEqualTo("data: [DONE]");
        assertThat(events.getFirst()).contains("\"finish_reason\":null");
        List<Integer> tokens = new ArrayList<>();
        for (String event : events.subList(0, 4)) {
            tokens.addAll(ids(JsonParser.parseString(event.substring(6)).getAsJsonObject().getAsJsonArray("choices")
                    .get(0).getAsJsonObject()));
        }
        assertThat(tokens).containsExactly(6, 12, 24, 48);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            {"prompt":[1 | 400 | the body is no JSON:
            [] | 400 | the body is no JSON object
            {} | 400 | prompt must be a string or an array of token ids
            {"prompt":[]} | 400 | the prompt is empty: it must have at least one token
            {"prompt":[512]} | 400 | prompt[0] is 512: a token id is an integer from 0 to 511
            {"prompt":[1.5]} | 400 | prompt[0] is 1.5: a token id is an integer from 0 to 511
            {"prompt":"hello"} | 400 | the model has no tokenizer.json: give the prompt as an array
            {"prompt":[1],"max_tokens":0} | 400 | max_tokens is 0: must be an integer from 1 to 2147483647
            {"prompt":[1],"max_tokens":64} | 400 | the prompt has 1 tokens and max_tokens is 64: together at most 64
            {"prompt":[1],"temperature":-1} | 400 | temperature is -1: must be from 0 to 100
            {"prompt":[1],"n":2} | 400 | n is 2: must be 1
            {"prompt":[1],"top_p":0.5} | 400 | top_p is 0.5: must be 1
            {"prompt":[1],"stop":"x"} | 400 | stop is not served: leave it out
            {"prompt":[1],"stream":1} | 400 | stream is 1: must be true or false
            {"prompt":[1],"model":"other"} | 404 | there is no model "other" here: this is tiny
            """)
    void refuses(String body, int status, String message) throws Exception {
        HttpResponse<String> response = post(body);
        assertThat(response.statusCode()).isEqualTo(status);
        JsonObject error = JsonParser.parseString(response.body()).getAsJsonObject().getAsJsonObject("error");
        assertThat(error.get("message").getAsString()).startsWith(message);
    }

    @Test
    void refusesALongBodyAndOtherMethodsAndPaths() throws Exception {
        assertThat(post(" ".repeat((1 << 20) + 1)).statusCode()).isEqualTo(413);
        assertThat(get("/v1/completions").statusCode()).isEqualTo(405);
        assertThat(get("/elsewhere").statusCode()).isEqualTo(404);
        assertThat(get("/health/more").statusCode()).isEqualTo(404);
    }

    @Test
    void tellsHealthAndMetrics() throws Exception {
        post("{\"prompt\":[1],\"max_tokens\":3}");
        assertThat(get("/health").body()).contains("\"status\":\"ok\"", "\"live_ranks\":1");
        assertThat(get("/metrics").body()).contains("moe_requests_total 1\n", "moe_sampled_tokens_total 3\n",
                "moe_live_ranks 1\n");
    }

    @Test
    void aPortInUseIsSaid() {
        assertThatThrownBy(() -> HttpService.bind(service.address())).isInstanceOf(ModelException.class)
                .hasMessageStartingWith("port " + service.address().getPort() + " of 127.0.0.1 cannot be had");
    }
}
