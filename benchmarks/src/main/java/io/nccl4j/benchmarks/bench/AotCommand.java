package io.nccl4j.benchmarks.bench;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code ep aot}. */
@Command(name = "aot",
        description = "Make an AOT cache for the JVM, with which a program starts in two thirds of the time or less.",
        footer = {"",
                "Without a program: a cache for this command, made from one dispatch on the emulator. With "
                        + "one, such as",
                "  ./ep aot --output app.aot -- -jar app.jar",
                "the arguments of a JVM that runs it to its end; what it does in that run will start fast. "
                        + "The JVM that uses the cache needs the same class path, of jars only, and "
                        + "-XX:AOTCache=FILE. A cache of another JVM or class path is ignored."})
public final class AotCommand implements Callable<Integer> {
    @Option(names = "--output", paramLabel = "FILE", description = "The cache (default: target/ep.aot).")
    private @Nullable Path output;

    @Parameters(paramLabel = "ARGUMENT", description = "Arguments of the JVM; -- before them.")
    private List<String> arguments = new ArrayList<>();

    @Override
    public Integer call() throws Exception {
        Path file = output == null
                ? Path.of(System.getProperty("nccl4j.ep.home", "."), "target", "ep.aot")
                : output.toAbsolutePath();
        AotCache.make(file,
                arguments.isEmpty()
                        ? FreshJvm.java(FirstDispatch.class)
                        : FreshJvm.java(arguments.toArray(String[]::new)));
        System.out.println(AotCache.option(file));
        return 0;
    }
}
