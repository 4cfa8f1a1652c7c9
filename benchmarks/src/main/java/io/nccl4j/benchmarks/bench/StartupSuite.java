package io.nccl4j.benchmarks.bench;

import io.nccl4j.benchmarks.stats.Median;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * From the start of a JVM to the end of its first dispatch, without and with an AOT cache, and the size of the library.
 */
final class StartupSuite implements Suite {

    @Override
    public Result run(boolean quick, boolean silent) throws Exception {
        int starts = quick ? 5 : 21;
        Path folder = Files.createTempDirectory("ep-startup");
        Path jar = folder.resolve("first-dispatch.jar");
        Path cache = folder.resolve("first-dispatch.aot");
        List<String> plainStart = FreshJvm.java(FreshJvm.QUIET, "-jar", jar.toString());
        List<String> cachedStart = FreshJvm.java(AotCache.option(cache), FreshJvm.QUIET, "-jar", jar.toString());
        try {
            ApplicationJar.write(jar);
            AotCache.make(cache, plainStart);
            double[] plain = new double[starts];
            double[] cached = new double[starts];
            // The first brings the files into the page cache.
            start(plainStart);
            for (int i = 0; i < starts; i++) {
                plain[i] = start(plainStart);
                cached[i] = start(cachedStart);
            }
            Map<String, Double> ratios = new LinkedHashMap<>();
            ratios.put("startup_ms", Median.of(plain));
            ratios.put("startup_aot_ms", Median.of(cached));
            ratios.put("jar_kb", Files.size(libraryJar()) / 1000.0);
            return new Result(String.format(
                    "JVM start to first dispatch, median of %d starts that take turns: %.0f ms (least %.0f), "
                            + "with an AOT cache %.0f ms (least %.0f)%nlibrary jar without emulator: %.0f kB",
                    starts, Median.of(plain), least(plain), Median.of(cached), least(cached), ratios.get("jar_kb")),
                    ratios);
        } finally {
            Files.deleteIfExists(cache);
            Files.deleteIfExists(jar);
            Files.delete(folder);
        }
    }

    private static double start(List<String> command) throws IOException, InterruptedException {
        return FreshJvm.run(command).nanos() / 1e6;
    }

    private static double least(double[] values) {
        return Arrays.stream(values).min().orElseThrow();
    }

    private static Path libraryJar() throws IOException {
        Path folder = Path.of(System.getProperty("nccl4j.ep.home", "."), "target");
        try (Stream<Path> files = Files.list(folder)) {
            return files.filter(file -> file.getFileName().toString().matches("nccl4j-[0-9.]+(-SNAPSHOT)?\\.jar"))
                    .findFirst().orElseThrow(() -> new IOException("no library jar in " + folder));
        }
    }
}
