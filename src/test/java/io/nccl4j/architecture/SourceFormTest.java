package io.nccl4j.architecture;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The form of source files that is not the formatter's affair, and the size of the library: it is to stay thin. */
class SourceFormTest {
    private static final Path LIBRARY = Path.of("src", "main", "java", "io", "nccl4j");
    private static final List<Path> SOURCES = List.of(Path.of("src"), Path.of("benchmarks", "src"),
            Path.of("examples"));
    /** Lines that are neither blank nor comment. */
    private static final Map<String, Integer> MOST_CODE_LINES = Map.of("", 12_230, "ep", 5_770, "bootstrap", 1_610,
            "cuda", 2_040, "internal", 1_365, "nccl", 1_320);
    private static final int MOST_LINES = 600;
    private static final int MOST_COLUMNS = 120;
    private static final Pattern COMMENT = Pattern.compile("/\\*.*?\\*/", Pattern.DOTALL);
    private static final Pattern LINE_COMMENT_OR_BLANK = Pattern.compile("\\s*(//.*)?");
    private static final Pattern RIDDLE = Pattern.compile("/\\*\\*\\s*(\\*\\s*)?What\\b");

    private static List<Path> javaFiles(Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            return files.filter(file -> file.toString().endsWith(".java"))
                    .filter(file -> !file.toString().contains("/target/")).sorted().toList();
        }
    }

    private static long codeLines(String source) {
        return COMMENT.matcher(source).replaceAll("").lines()
                .filter(line -> !LINE_COMMENT_OR_BLANK.matcher(line).matches()).count();
    }

    @Test
    void theLibraryIsThin() throws IOException {
        Map<String, Long> lines = new LinkedHashMap<>();
        for (String name : MOST_CODE_LINES.keySet()) {
            long sum = 0;
            for (Path file : javaFiles(LIBRARY.resolve(name))) {
                sum += codeLines(Files.readString(file));
            }
            lines.put(name, sum);
        }
        assertThat(lines).allSatisfy((name, sum) -> assertThat(sum).as("lines of code in %s", LIBRARY.resolve(name))
                .isPositive().isLessThanOrEqualTo(MOST_CODE_LINES.get(name)));
    }

    @Test
    void filesAreShortAndJavadocNamesItsSubject() throws IOException {
        List<String> wrong = new ArrayList<>();
        for (Path folder : SOURCES) {
            for (Path file : javaFiles(folder)) {
                String source = Files.readString(file);
                List<String> lines = source.lines().toList();
                if (lines.size() > MOST_LINES) {
                    wrong.add(file + " has " + lines.size() + " lines");
                }
                for (int i = 0; i < lines.size(); i++) {
                    if (lines.get(i).length() > MOST_COLUMNS) {
                        wrong.add(file + ":" + (i + 1) + " has " + lines.get(i).length() + " columns");
                    }
                }
                if (RIDDLE.matcher(source).find()) {
                    wrong.add(file + " has Javadoc that begins with 'What'");
                }
            }
        }
        assertThat(wrong).isEmpty();
    }

    @Test
    void codeIsToldFromComments() {
        assertThat(codeLines("/* a\n b */\n\n// c\nint d; // e\n/** f */ int g;\n")).isEqualTo(2);
        assertThat(RIDDLE.matcher("/**\n * What it is").find()).isTrue();
    }
}
