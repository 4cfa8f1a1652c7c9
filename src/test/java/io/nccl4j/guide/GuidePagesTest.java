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
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The pages for users show code that runs: each block of Java is an example of a test, what stands there between
 * {@code // example NAME} and {@code // end}, or a file of the repository; and each link leads somewhere.
 */
class GuidePagesTest {
    private static final Pattern FENCE = Pattern.compile("^```(\\w*)\\n(.*?)^```$", Pattern.MULTILINE | Pattern.DOTALL);
    private static final Pattern EXAMPLE = Pattern.compile("<!-- example (\\w+): ([\\w.]+) runs exactly this -->\\n$");
    private static final Pattern FILE = Pattern.compile("<!-- file (\\S+) -->\\n$");
    private static final Pattern LINK = Pattern.compile("]\\(([^)\\s]+)\\)");
    private static final Pattern HEADING = Pattern.compile("^#+ (.*)$", Pattern.MULTILINE);

    static List<Path> pages() throws IOException {
        try (Stream<Path> docs = Files.walk(Path.of("docs"))) {
            return Stream
                    .concat(Stream.of(Path.of("README.md"), Path.of("benchmarks/README.md"),
                            Path.of("examples/moe-server/README.md")), docs)
                    .filter(path -> path.toString().endsWith(".md")).sorted().toList();
        }
    }

    @ParameterizedTest
    @MethodSource("pages")
    void everyBlockOfJavaIsRunByATest(Path page) throws IOException {
        String text = Files.readString(page);
        Matcher block = FENCE.matcher(text);
        while (block.find()) {
            String before = text.substring(0, block.start());
            String shown = block.group(2);
            Matcher example = EXAMPLE.matcher(before);
            Matcher file = FILE.matcher(before);
            if (example.find()) {
                assertThat(shown).as(example.group()).isEqualTo(example(example.group(2), example.group(1)));
            } else if (file.find()) {
                assertThat(shown).as(file.group()).isEqualTo(Files.readString(Path.of(file.group(1))));
            } else {
                assertThat(block.group(1)).as("nothing runs this block of %s:\n%s", page, shown).isNotEqualTo("java");
            }
        }
    }

    private static String example(String test, String name) throws IOException {
        String source = Files.readString(Path.of("src/test/java/" + test.replace('.', '/') + ".java"));
        Matcher example = Pattern
                .compile("^( *)// example " + name + "\\n(.*?)^ *// end\\n", Pattern.MULTILINE | Pattern.DOTALL)
                .matcher(source);
        assertThat(example.find()).as("example %s of %s", name, test).isTrue();
        int indent = example.group(1).length();
        return example.group(2).lines().map(line -> line.isEmpty() ? line : line.substring(indent))
                .collect(Collectors.joining("\n", "", "\n"));
    }

    @ParameterizedTest
    @MethodSource("pages")
    void everyLinkLeadsSomewhere(Path page) throws IOException {
        String text = FENCE.matcher(Files.readString(page)).replaceAll("");
        List<String> broken = new ArrayList<>();
        Matcher link = LINK.matcher(text);
        while (link.find()) {
            String target = link.group(1);
            if (!target.matches("[a-z]+:.*") && !exists(page, target)) {
                broken.add(target);
            }
        }
        assertThat(broken).as("links of %s", page).isEmpty();
    }

    @Test
    void theIndexLeadsToEveryPage() throws IOException {
        Path index = Path.of("docs/README.md");
        String text = Files.readString(index);
        assertThat(pages()).filteredOn(page -> page.startsWith("docs") && !page.equals(index))
                .allSatisfy(page -> assertThat(text).contains("](" + index.getParent().relativize(page) + ")"));
    }

    private static boolean exists(Path page, String target) throws IOException {
        String[] parts = target.split("#", 2);
        Path file = parts[0].isEmpty() ? page : page.resolveSibling(parts[0]).normalize();
        if (parts.length == 1 || !Files.exists(file)) {
            return Files.exists(file);
        }
        // As the sites that render Markdown make them of headings.
        return HEADING.matcher(Files.readString(file)).results()
                .map(heading -> heading.group(1).toLowerCase().replaceAll("[^\\w\\- ]", "").replace(' ', '-'))
                .anyMatch(parts[1]::equals);
    }
}
