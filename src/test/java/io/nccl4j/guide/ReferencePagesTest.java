package io.nccl4j.guide;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The pages to look things up in name what the code has: its messages, properties, variables and loggers. */
class ReferencePagesTest {
    private static final Pattern JOINED = Pattern.compile("\"\\s*\\+\\s*\"");
    /** Set for the second class loader of a process, and by torchrun for itself. */
    private static final Set<String> INTERNAL = Set.of("nccl4j.loaded.by", "TORCHELASTIC_USE_AGENT_STORE");

    /** The library's source, text that is joined from several literals in one piece. */
    private static String source() throws IOException {
        return JOINED.matcher(text("src/main/java", ".java")).replaceAll("");
    }

    private static String text(String folder, String ending) throws IOException {
        try (Stream<Path> files = Files.walk(Path.of(folder))) {
            return files.filter(file -> file.toString().endsWith(ending)).sorted().map(file -> {
                try {
                    return Files.readString(file);
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            }).collect(Collectors.joining("\n"));
        }
    }

    private static Set<String> found(String regex, String text) {
        return Pattern.compile(regex).matcher(text).results().map(result -> result.group(1))
                .collect(Collectors.toCollection(TreeSet::new));
    }

    @Test
    void everyMessageIsOneThatTheLibraryHas() throws IOException {
        String source = source();
        // Of the library itself; what is seen on GPUs alone comes from elsewhere.
        String page = Files.readString(Path.of("docs/troubleshooting.md")).split("## Only on GPUs")[0];
        List<String> unknown = new ArrayList<>();
        int messages = 0;
        for (String line : found("(?m)^(\\*\\*`.*)<br>$", page)) {
            for (String message : found("`([^`]+)`", line)) {
                messages++;
                Stream.of(message.split("…")).map(part -> part.replaceAll("^[ .,:;()]+|[ .,:;()]+$", ""))
                        .filter(part -> part.length() > 7 && !source.contains(part)).forEach(unknown::add);
            }
        }
        assertThat(unknown).isEmpty();
        assertThat(messages).isGreaterThan(20);
    }

    @Test
    void everyPropertyAndVariableIsInTheTable() throws IOException {
        String source = source();
        String page = Files.readString(Path.of("docs/deploy.md"));
        Set<String> names = found("\"(nccl4j\\.[a-z_.]+[a-z])\"", source);
        names.addAll(found("\"((?:NCCL|NCCL4J|CUDA|NVIDIA|TORCHELASTIC|PMIX)_[A-Z_]+)\"", source));
        names.addAll(List.of("nccl4j.cudart.library", "nccl4j.nccl.library", "nccl4j.nccl_ep.library"));
        names.removeAll(INTERNAL);
        assertThat(names).hasSizeGreaterThan(30).allSatisfy(name -> assertThat(page).contains('`' + name + '`'));
    }

    @Test
    void everyOptionAndVariableOfTheEmulatorIsOnItsPage() throws IOException {
        String page = Files.readString(Path.of("docs/emulator.md"));
        String table = page.substring(page.indexOf("## Options"), page.indexOf("## A mock, too"));
        Set<String> options = found("\\{\"(\\w+)\", \"NCCL4J_EMU_",
                Files.readString(Path.of("native/src/base/options.cpp")));
        assertThat(options).hasSizeGreaterThan(8).allSatisfy(name -> assertThat(table).contains('`' + name + '`'));
        Set<String> variables = found("\"((?:NCCL|CUDA)_[A-Z_0-9]+)\"", text("native/src", ".cpp"));
        assertThat(variables).hasSizeGreaterThan(15).allSatisfy(name -> assertThat(page).contains('`' + name + '`'));
    }

    @Test
    void everyLoggerIsInTheTable() throws IOException {
        String page = Files.readString(Path.of("docs/observability.md"));
        assertThat(found("getLogger\\(\"io\\.nccl4j\\.([\\w.]+)\"\\)", source())).isNotEmpty()
                .allSatisfy(name -> assertThat(page).contains(name.substring(name.lastIndexOf('.') + 1)));
    }
}
