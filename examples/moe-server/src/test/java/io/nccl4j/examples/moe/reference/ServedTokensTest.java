package io.nccl4j.examples.moe.reference;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonParser;
import io.nccl4j.examples.moe.model.NamedShapes;
import io.nccl4j.examples.moe.step.StepMode;
import io.nccl4j.examples.moe.weights.SeededWeights;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The tokens that clients of the server on the emulator get are those of the reference model, one by one, from whatever
 * number of ranks and in each mode, although their requests share steps.
 */
@Timeout(120)
class ServedTokensTest {
    private static final int REQUESTS = 10;
    private static final int COUNT = 6;
    private static final List<int[]> PROMPTS = new ArrayList<>();
    private static final List<List<Integer>> EXPECTED = new ArrayList<>();

    @BeforeAll
    static void askTheReference() {
        Random random = new Random(5);
        ReferenceModel reference = new ReferenceModel(NamedShapes.of("tiny"), new SeededWeights(1, null));
        for (int i = 0; i < REQUESTS; i++) {
            int[] prompt = random.ints(1 + random.nextInt(12), 0, 512).toArray();
            PROMPTS.add(prompt);
            EXPECTED.add(Arrays.stream(reference.generate(prompt, COUNT)).boxed().toList());
        }
        assertThat(EXPECTED).doesNotHaveDuplicates();
    }

    @ParameterizedTest
    @CsvSource({"1, GRAPH", "2, EAGER", "2, PIECEWISE", "2, HANDLE_PER_LAYER", "4, GRAPH"})
    void equalTheReference(int ranks, StepMode mode) {
        List<List<Integer>> served = new ArrayList<>();
        try (EmulatedServer server = new EmulatedServer("tiny", ranks, mode);
                HttpClient client = HttpClient.newHttpClient()) {
            List<CompletableFuture<HttpResponse<String>>> answers = PROMPTS.stream().map(
                    prompt -> client.sendAsync(request(server.uri(), prompt), HttpResponse.BodyHandlers.ofString()))
                    .toList();
            for (CompletableFuture<HttpResponse<String>> answer : answers) {
                served.add(tokens(answer.join()));
            }
        }
        assertThat(served).isEqualTo(EXPECTED);
    }

    private static HttpRequest request(URI server, int[] prompt) {
        return HttpRequest.newBuilder(server.resolve("/v1/completions"))
                .POST(HttpRequest.BodyPublishers.ofString(
                        "{\"temperature\":0,\"max_tokens\":" + COUNT + ",\"prompt\":" + Arrays.toString(prompt) + "}"))
                .build();
    }

    private static List<Integer> tokens(HttpResponse<String> answer) {
        assertThat(answer.statusCode()).as(answer.body()).isEqualTo(200);
        return JsonParser.parseString(answer.body()).getAsJsonObject().getAsJsonArray("choices").get(0)
                .getAsJsonObject().getAsJsonArray("token_ids").asList().stream().map(id -> id.getAsInt()).toList();
    }
}
