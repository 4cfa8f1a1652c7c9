package io.nccl4j.examples.moe.bench;

import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaEvent;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.examples.moe.BackendChoice;
import io.nccl4j.examples.moe.ModelOptions;
import io.nccl4j.examples.moe.kernels.Cublas;
import io.nccl4j.examples.moe.kernels.ModelKernels;
import io.nccl4j.examples.moe.model.ModelConfig;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code gemm}: the experts of a layer by the masked kernels, beside cuBLAS on full capacity. */
@Command(name = "gemm", mixinStandardHelpOptions = true, description = "Measures the experts' products of one layer.")
public final class GemmBenchCommand implements Callable<Integer> {
    private static final double MEMORY_BYTES_PER_SECOND = 4.3e12;
    private static final int ROUNDS = 50;

    @Mixin
    private ModelOptions model;

    @Option(names = "--rows", split = ",", defaultValue = "1,2,8,16,32,64,128", description = "Tokens that are routed.")
    private List<Integer> rows;

    @Override
    public Integer call() {
        ModelConfig config = model.rankOptions().config();
        BackendChoice.use(model.backend());
        CudaDevice device = CudaDevice.of(0);
        device.makeCurrent();
        int most = rows.stream().mapToInt(Integer::intValue).max().orElseThrow();
        try (CudaStream stream = CudaStream.create(device);
                ModelKernels kernels = ModelKernels.load(config, 1, device);
                Experts experts = new Experts(config, most, kernels, stream);
                Cublas cublas = new Cublas(stream, most)) {
            System.out.println("| rows | experts | masked us | of 4.3 TB/s | cuBLAS us | cuBLAS / masked |");
            for (int count : rows) {
                int touched = experts.route(count);
                double masked = experts.time(() -> experts.masked(count));
                double full = experts.time(() -> experts.full(cublas, count));
                double bytes = 2.0 * 3 * touched * config.expertWidth() * config.hidden();
                System.out.printf(Locale.ROOT, "| %4d | %7d | %9.1f | %10.1f%% | %9.1f | %15.2f |%n", count, touched,
                        masked, 100 * bytes / MEMORY_BYTES_PER_SECOND / (masked / 1e6), full, full / masked);
            }
        }
        return 0;
    }

    /** One layer's experts and rows for them. */
    private static final class Experts implements AutoCloseable {
        private final ModelConfig config;
        private final ModelKernels kernels;
        private final CudaStream stream;
        private final List<DeviceMemory> owned = new ArrayList<>();
        private final DeviceMemory counts;
        private final DeviceMemory received;
        private final DeviceMemory gate;
        private final DeviceMemory up;
        private final DeviceMemory down;
        private final DeviceMemory activated;
        private final DeviceMemory outputs;

        Experts(ModelConfig config, int most, ModelKernels kernels, CudaStream stream) {
            this.config = config;
            this.kernels = kernels;
            this.stream = stream;
            long experts = config.experts();
            long inner = config.expertWidth();
            long hidden = config.hidden();
            counts = memory(experts * Integer.BYTES);
            received = seeded(1, experts * most * hidden, 1.0f);
            gate = seeded(2, experts * inner * hidden, 0.03f);
            up = seeded(3, experts * inner * hidden, 0.03f);
            down = seeded(4, experts * inner * hidden, 0.03f);
            activated = seeded(5, experts * most * inner, 1.0f);
            outputs = memory(experts * most * hidden * Short.BYTES);
        }

        private DeviceMemory memory(long bytes) {
            DeviceMemory memory = DeviceMemory.allocate(stream.device(), bytes);
            owned.add(memory);
            return memory;
        }

        private DeviceMemory seeded(long seed, long elements, float scale) {
            DeviceMemory memory = memory(elements * Short.BYTES);
            kernels.seedWeights(stream, memory, elements, seed, scale, 0);
            return memory;
        }

        /** Routes so many tokens to distinct experts at random; how many experts have any. */
        int route(int tokens) {
            int[] values = new int[config.experts()];
            Random random = new Random(tokens);
            for (int token = 0; token < tokens; token++) {
                boolean[] taken = new boolean[values.length];
                for (int k = 0; k < config.topK();) {
                    int expert = random.nextInt(values.length);
                    if (!taken[expert]) {
                        taken[expert] = true;
                        values[expert]++;
                        k++;
                    }
                }
            }
            try (Arena arena = Arena.ofConfined()) {
                counts.copyFrom(arena.allocateFrom(JAVA_INT, values));
            }
            return (int) Arrays.stream(values).filter(value -> value > 0).count();
        }

        void masked(int capacity) {
            kernels.expertGateUp(stream, counts, received, config.experts(), capacity, gate, up, activated);
            kernels.expertDown(stream, counts, activated, config.experts(), capacity, down, outputs);
        }

        /** Without the activation in between, which makes it look a little better than it is. */
        void full(Cublas cublas, int capacity) {
            cublas.batched(config.experts(), capacity, received, gate, config.expertWidth(), config.hidden(),
                    activated);
            cublas.batched(config.experts(), capacity, received, up, config.expertWidth(), config.hidden(), activated);
            cublas.batched(config.experts(), capacity, activated, down, config.hidden(), config.expertWidth(), outputs);
        }

        /** Microseconds of one call, the best of three rows of calls. */
        double time(Runnable work) {
            double best = Double.MAX_VALUE;
            try (CudaEvent begin = CudaEvent.createTiming(stream.device());
                    CudaEvent end = CudaEvent.createTiming(stream.device())) {
                work.run();
                for (int row = 0; row < 3; row++) {
                    begin.record(stream);
                    for (int i = 0; i < ROUNDS; i++) {
                        work.run();
                    }
                    end.record(stream);
                    end.synchronize();
                    best = Math.min(best, end.elapsedMillisSince(begin) * 1e3 / ROUNDS);
                }
            }
            return best;
        }

        @Override
        public void close() {
            owned.forEach(DeviceMemory::close);
        }
    }
}
