package io.nccl4j.safety;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;

/** docs/failure-modes.md has every number, and the tests that it names exist. */
class FailureModesGuideTest {
    private static final int MODES = 24;
    private static final Pattern ROW = Pattern.compile("(?m)^\\| F(\\d+) \\|.*\\|([^|]*)\\|$");
    private static final Pattern TEST = Pattern.compile("`([\\w.]+)`");

    private static Map<Integer, List<String>> rows() throws IOException {
        Map<Integer, List<String>> rows = new TreeMap<>();
        for (MatchResult row : ROW.matcher(Files.readString(Path.of("docs/failure-modes.md"))).results().toList()) {
            rows.put(Integer.parseInt(row.group(1)),
                    TEST.matcher(row.group(2)).results().map(test -> test.group(1)).toList());
        }
        return rows;
    }

    @Test
    void everyFailureModeHasATestOfItsName() throws Exception {
        Map<Integer, List<String>> rows = rows();
        assertThat(rows.keySet()).containsExactlyElementsOf(IntStream.rangeClosed(1, MODES).boxed().toList());
        for (Map.Entry<Integer, List<String>> row : rows.entrySet()) {
            String prefix = String.format(Locale.ROOT, ".f%02d", row.getKey());
            assertThat(row.getValue()).as("F%d", row.getKey()).anyMatch(test -> test.contains(prefix));
            for (String test : row.getValue()) {
                checkExists(test);
            }
        }
    }

    private static void checkExists(String test) throws ClassNotFoundException {
        String[] parts = test.split("\\.");
        boolean method = Character.isLowerCase(parts[parts.length - 1].charAt(0));
        String type = method ? test.substring(0, test.lastIndexOf('.')) : test;
        Class<?> found = Class.forName(type.contains(".") ? type : "io.nccl4j.safety." + type);
        if (method) {
            assertThat(found.getDeclaredMethods()).as(test)
                    .anyMatch(of -> of.getName().equals(parts[parts.length - 1]) && isTest(of));
        } else {
            assertThat(found.getDeclaredMethods()).as(test).anyMatch(FailureModesGuideTest::isTest);
        }
    }

    private static boolean isTest(Method method) {
        return Arrays.stream(method.getAnnotations())
                .anyMatch(annotation -> annotation instanceof Test || annotation instanceof ParameterizedTest);
    }
}
