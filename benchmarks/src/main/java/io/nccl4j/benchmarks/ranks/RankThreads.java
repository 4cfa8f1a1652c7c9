package io.nccl4j.benchmarks.ranks;

import io.nccl4j.Backend;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.nccl.Bootstrap;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Runs ranks as threads, rank r on device r unless devices may be shared. */
public final class RankThreads {
    private RankThreads() {
    }

    /**
     * Runs {@code body} on each rank and returns what they give back, by rank.
     *
     * @param limit how long all may take; what a failed or late rank leaves behind ends with the process
     * @throws RuntimeException if a rank failed or was late; the cause is the rank's own exception
     */
    public static <T> List<T> run(Backend backend, int size, Duration limit, Rank.Body<T> body) {
        return run(backend, size, false, limit, body);
    }

    /** The same, with several ranks on a device if there are fewer devices and {@code shareDevices}. */
    public static <T> List<T> run(Backend backend, int size, boolean shareDevices, Duration limit, Rank.Body<T> body) {
        if (backend == Backend.EMULATOR) {
            return EmulatedCluster.of(size).limit(limit)
                    .call(rank -> body.run(new Rank(rank.rank(), rank.size(), rank.device(), rank.bootstrap())));
        }
        if (size > CudaDevice.count() && !shareDevices) {
            throw new IllegalArgumentException(
                    size + " ranks need as many devices, and this machine has " + CudaDevice.count());
        }
        return runNative(size, limit, body);
    }

    private static <T> List<T> runNative(int size, Duration limit, Rank.Body<T> body) {
        List<Bootstrap> bootstraps = Bootstraps.inProcess(size);
        List<CompletableFuture<T>> results = new ArrayList<>();
        CompletableFuture<T> firstFailure = new CompletableFuture<>();
        for (int number = 0; number < size; number++) {
            int self = number;
            CompletableFuture<T> result = new CompletableFuture<>();
            results.add(result);
            result.whenComplete((value, e) -> {
                if (e != null) {
                    firstFailure.completeExceptionally(new IllegalStateException("rank " + self + " failed: " + e, e));
                }
            });
            Thread.ofPlatform().daemon().name("rank-" + self)
                    .start(() -> execute(self, size, bootstraps.get(self), body, result));
        }
        CompletableFuture<Void> all = CompletableFuture.allOf(results.toArray(CompletableFuture[]::new));
        try {
            // The others of a failed rank may wait for it for ever: don't wait for them.
            CompletableFuture.anyOf(all, firstFailure).get(limit.toMillis(), TimeUnit.MILLISECONDS);
            return results.stream().map(CompletableFuture::join).toList();
        } catch (ExecutionException e) {
            throw e.getCause() instanceof RuntimeException cause ? cause : new IllegalStateException(e.getCause());
        } catch (TimeoutException e) {
            throw new IllegalStateException("the ranks have not ended after " + limit.toSeconds() + " s", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted", e);
        }
    }

    private static <T> void execute(int self, int size, Bootstrap bootstrap, Rank.Body<T> body,
            CompletableFuture<T> result) {
        try (bootstrap) {
            CudaDevice device = CudaDevice.of(self % CudaDevice.count());
            device.makeCurrent();
            result.complete(body.run(new Rank(self, size, device, bootstrap)));
        } catch (Throwable e) {
            result.completeExceptionally(e);
        }
    }
}
