package io.nccl4j.guide;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** The examples of a guide: what stands in its test between {@code // example NAME} and {@code // end}. */
final class GuideExamples {
    private GuideExamples() {
    }

    /** The guide shows each of the test's examples, and no other code in Java. */
    static void assertShown(Class<?> test, String document, int count) throws IOException {
        String source = Files.readString(Path.of("src/test/java/" + test.getName().replace('.', '/') + ".java"));
        String guide = Files.readString(Path.of(document));
        List<String> examples = new ArrayList<>();
        Matcher example = Pattern
                .compile("^( *)// example (\\w+)\\n(.*?)^ *// end\\n", Pattern.MULTILINE | Pattern.DOTALL)
                .matcher(source);
        while (example.find()) {
            int indent = example.group(1).length();
            String code = example.group(3).lines().map(line -> line.isEmpty() ? line : line.substring(indent))
                    .collect(Collectors.joining("\n", "```java\n", "\n```"));
            assertThat(guide).as("example %s", example.group(2)).contains(code);
            examples.add(code);
        }
        assertThat(examples).hasSize(count);
        Matcher shown = Pattern.compile("```java\\n.*?\\n```", Pattern.DOTALL).matcher(guide);
        while (shown.find()) {
            assertThat(examples).contains(shown.group());
        }
    }
}
