package io.nccl4j.benchmarks.faults;

import io.nccl4j.benchmarks.stats.Median;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.testing.LayerKind;
import java.io.IOException;
import java.time.Duration;
import java.util.Arrays;
import java.util.Locale;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;

/** A fault between two ranks, each a process of its own. */
enum Fault {
    /** Rank 1 is killed in the middle of decoding; rank 0 has a mask, and calls. */
    KILL_EAGER,
    /** The same with steps that are replayed graphs. */
    KILL_GRAPH,
    /** Rank 1 is killed when all work is done, and rank 0 closes; low latency. */
    CLOSE_LL,
    /** The same with high throughput. */
    CLOSE_HT,
    /** Two groups of one communicator, used in another order by each rank; low latency with masks. */
    ORDER_LL,
    /** The same with high throughput. */
    ORDER_HT;

    private static final Duration TIMEOUT = Duration.ofMillis(300);
    private static final Duration LIMIT = Duration.ofSeconds(10);
    private static final int BEFORE = 20;
    private static final int AFTER = 40;

    /** A rank's part. */
    void run(Bootstrap bootstrap) throws Exception {
        CudaDevice device = bootstrap.device();
        device.makeCurrent();
        switch (this) {
            case KILL_EAGER, KILL_GRAPH -> kill(bootstrap, device);
            case CLOSE_LL -> close(bootstrap, device, LayerKind.LL_EXPERT_MAJOR);
            case CLOSE_HT -> close(bootstrap, device, LayerKind.HT_FLAT);
            case ORDER_LL -> order(bootstrap, device, LayerKind.LL_EXPERT_MAJOR);
            case ORDER_HT -> order(bootstrap, device, LayerKind.HT_FLAT);
        }
    }

    /** Whether rank 1 is to die. */
    boolean kills() {
        return this != ORDER_LL && this != ORDER_HT;
    }

    private void kill(Bootstrap bootstrap, CudaDevice device) throws IOException {
        // By an id: a communicator that knows the bootstrap is given up when a rank dies, and here the other goes on.
        Communicator communicator = Communicator.init(bootstrap.exchangeUniqueId(), bootstrap.rank(), bootstrap.size(),
                device);
        CudaStream stream = CudaStream.create(device);
        FaultLayer layer = new FaultLayer(communicator, stream, LayerKind.LL_EXPERT_MAJOR,
                config -> config.mask().timeout(TIMEOUT));
        CudaGraphExec replay = null;
        if (this == KILL_GRAPH) {
            try (CudaGraph graph = stream.capture(layer::enqueue)) {
                replay = graph.instantiate();
            }
        }
        double[] millis = new double[BEFORE + AFTER];
        float[] values = new float[BEFORE + AFTER];
        for (int step = 0; step < BEFORE + AFTER; step++) {
            if (step == BEFORE && bootstrap.rank() == 1) {
                die();
            }
            long begin = System.nanoTime();
            if (replay == null) {
                layer.enqueue();
            } else {
                replay.launch(stream);
            }
            stream.await(LIMIT);
            millis[step] = (System.nanoTime() - begin) / 1e6;
            values[step] = layer.combined();
            if (step == BEFORE) {
                say("step %d after the kill: %.1f ms, tokens %s, asyncError %s, mask %s", step, millis[step],
                        values[step], layer.group.asyncError(), layer.group.maskQuery(stream));
            }
        }
        say("the %d steps before: %.2f ms (median), tokens %s", BEFORE, median(millis, 0, BEFORE),
                distinct(values, 0, BEFORE));
        say("the %d steps after: %.2f ms (median), tokens %s", AFTER - 1, median(millis, BEFORE + 1, AFTER + BEFORE),
                distinct(values, BEFORE + 1, AFTER + BEFORE));
        long begin = System.nanoTime();
        communicator.abandon("a rank is gone");
        if (replay != null) {
            replay.close();
        }
        layer.close();
        communicator.close();
        stream.close();
        say("everything closed after %.1f ms", (System.nanoTime() - begin) / 1e6);
    }

    private void close(Bootstrap bootstrap, CudaDevice device, LayerKind kind) throws IOException {
        Communicator communicator = Communicator.init(bootstrap, device);
        CudaStream stream = CudaStream.create(device);
        FaultLayer layer = new FaultLayer(communicator, stream, kind, UnaryOperator.identity());
        for (int step = 0; step < BEFORE; step++) {
            layer.enqueue();
        }
        stream.await(LIMIT);
        say("%d steps, tokens %s", BEFORE, layer.combined());
        bootstrap.barrier();
        if (bootstrap.rank() == 1) {
            die();
        }
        long begin = System.nanoTime();
        closing("layer", layer);
        closing("communicator", communicator);
        stream.close();
        say("everything closed after %.1f ms", (System.nanoTime() - begin) / 1e6);
    }

    private static void order(Bootstrap bootstrap, CudaDevice device, LayerKind kind) {
        Communicator communicator = Communicator.init(bootstrap, device);
        CudaStream stream = CudaStream.create(device);
        UnaryOperator<EpGroupConfig> more = kind.isLowLatency()
                ? config -> config.mask().timeout(TIMEOUT)
                : UnaryOperator.identity();
        FaultLayer one = new FaultLayer(communicator, stream, kind, more);
        FaultLayer other = new FaultLayer(communicator, stream, kind, more);
        bootstrap.barrier();
        long begin = System.nanoTime();
        try {
            (bootstrap.rank() == 0 ? one : other).enqueue();
            (bootstrap.rank() == 0 ? other : one).enqueue();
            stream.await(LIMIT);
            say("rank %d: done after %.1f ms, tokens %s and %s%s", bootstrap.rank(), (System.nanoTime() - begin) / 1e6,
                    one.combined(), other.combined(),
                    kind.isLowLatency()
                            ? ", masks %s and %s".formatted(one.group.maskQuery(stream), other.group.maskQuery(stream))
                            : "");
        } catch (RuntimeException e) {
            say("rank %d: after %.1f ms %s", bootstrap.rank(), (System.nanoTime() - begin) / 1e6, e);
        }
        // What hangs cannot be closed.
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private static void closing(String what, AutoCloseable resource) {
        long begin = System.nanoTime();
        try {
            resource.close();
            say("%s closed after %.1f ms", what, (System.nanoTime() - begin) / 1e6);
        } catch (Exception e) {
            say("%s: close threw after %.1f ms: %s", what, (System.nanoTime() - begin) / 1e6, e);
        }
    }

    private static void die() throws IOException {
        new ProcessBuilder("kill", "-9", Long.toString(ProcessHandle.current().pid())).start();
        while (true) {
            Thread.onSpinWait();
        }
    }

    private static double median(double[] values, int from, int to) {
        return Median.of(Arrays.copyOfRange(values, from, to));
    }

    private static String distinct(float[] values, int from, int to) {
        return IntStream.range(from, to).mapToObj(step -> values[step]).distinct().toList().toString();
    }

    private static void say(String format, Object... values) {
        System.out.println(String.format(Locale.ROOT, format, values));
    }
}
