package io.nccl4j.bootstrap;

import io.nccl4j.nccl.Bootstrap;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Ranks of a test as threads. */
final class Ranks {
    /** The body of a rank; its result or exception is what the test looks at. */
    @FunctionalInterface
    interface Body<T> {
        T run(int rank) throws Exception;
    }

    /** How a rank makes its bootstrap. */
    @FunctionalInterface
    interface Maker {
        Bootstrap make(int rank) throws Exception;
    }

    private static final Duration LIMIT = Duration.ofSeconds(40);

    private Ranks() {
    }

    /** Options with this limit and no secret. */
    static BootstrapOptions options(Duration limit) {
        return BootstrapOptions.defaults().limit(limit);
    }

    /** Options with this limit and this secret. */
    static BootstrapOptions options(Duration limit, String secret) {
        return BootstrapOptions.defaults().limit(limit).secret(secret);
    }

    /** The result of each rank, or the exception that it threw. */
    static <T> List<Object> outcomes(int size, Body<T> body) throws Exception {
        try (ExecutorService threads = Executors.newThreadPerTaskExecutor(Thread.ofPlatform().daemon().factory())) {
            List<Future<T>> futures = new ArrayList<>();
            for (int rank = 0; rank < size; rank++) {
                int self = rank;
                futures.add(threads.submit(() -> body.run(self)));
            }
            List<Object> outcomes = new ArrayList<>();
            for (Future<T> future : futures) {
                try {
                    outcomes.add(future.get(LIMIT.toSeconds(), TimeUnit.SECONDS));
                } catch (ExecutionException e) {
                    outcomes.add(e.getCause());
                } catch (TimeoutException e) {
                    threads.shutdownNow();
                    throw new AssertionError("rank " + outcomes.size() + " hangs", e);
                }
            }
            return outcomes;
        }
    }

    /** The same, with a bootstrap for each rank that is closed in the end. */
    static <T> List<Object> outcomes(int size, Maker maker, java.util.function.Function<Bootstrap, T> body)
            throws Exception {
        return outcomes(size, rank -> {
            try (Bootstrap bootstrap = maker.make(rank)) {
                return body.apply(bootstrap);
            }
        });
    }

    /** A port of the loopback that nobody listens at. */
    static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }

    /** Text of what a rank gives in a round; its length varies. */
    static byte[] part(int rank, int round) {
        return (rank + ":" + round + " ").repeat(rank * 7 + round % 5)
                .getBytes(java.nio.charset.StandardCharsets.UTF_8);
    }

    /** Makes rounds of all-gather and says whether every rank's part was right in each. */
    static boolean gathersRightly(Bootstrap bootstrap, int rounds) {
        boolean right = true;
        for (int round = 0; round < rounds; round++) {
            byte[][] all = bootstrap.allGather(part(bootstrap.rank(), round));
            right &= all.length == bootstrap.size();
            for (int rank = 0; rank < all.length; rank++) {
                right &= java.util.Arrays.equals(all[rank], part(rank, round));
            }
        }
        return right;
    }
}
