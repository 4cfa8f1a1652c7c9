package io.nccl4j.benchmarks.patterns;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.PiecewiseGraph;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.Layout;
import java.util.function.BiFunction;

/** The ways to make a step of several layers. */
enum Patterns {
    /** A handle for every layer of every step, as servers did before there was anything else. */
    CREATE_DESTROY("create and destroy a handle", (work, layers) -> () -> {
        for (int layer = 0; layer < layers; layer++) {
            work.compute(work.stream);
            try (EpHandle handle = work.handle().group().createHandle(Layout.EXPERT_MAJOR, work.buffers.routing(), null,
                    HandleConfig.defaults(), work.stream)) {
                work.calls.dispatch(handle, work.stream);
                work.compute(work.stream);
                work.calls.combine(handle, work.stream);
            }
        }
    }),
    /** One handle, the explicit calls. */
    EXPLICIT("update, dispatch, combine", (work, layers) -> () -> {
        for (int layer = 0; layer < layers; layer++) {
            work.compute(work.stream);
            work.calls.update(work.handle(), work.stream);
            work.calls.dispatch(work.handle(), work.stream);
            work.compute(work.stream);
            work.calls.combine(work.handle(), work.stream);
        }
    }),
    /** One handle, the calls on its buffers, none of them captured. */
    ASYNC("async calls", (work, layers) -> () -> enqueue(work, layers)),
    /** Attention and experts captured, dispatch and combine eager. */
    PIECEWISE("piecewise graph", (work, layers) -> {
        PiecewiseGraph.Builder builder = PiecewiseGraph.on(work.stream);
        for (int layer = 0; layer < layers; layer++) {
            builder.captured("attention " + layer, work::compute).eager("dispatch " + layer, work::dispatch)
                    .captured("experts " + layer, work::compute).eager("combine " + layer, work::combine);
        }
        PiecewiseGraph graph = builder.build();
        return new StepPattern() {
            @Override
            public void enqueue() {
                graph.replay(work.stream);
            }

            @Override
            public void close() {
                graph.close();
            }
        };
    }),
    /** All of the step in one graph. */
    GRAPH("async calls in one graph", (work, layers) -> {
        CudaGraphExec step;
        try (CudaGraph graph = work.stream.capture(() -> enqueue(work, layers))) {
            step = graph.instantiate();
        }
        return new StepPattern() {
            @Override
            public void enqueue() {
                step.launch(work.stream);
            }

            @Override
            public void close() {
                step.close();
            }
        };
    });

    private static void enqueue(LayerWork work, int layers) {
        for (int layer = 0; layer < layers; layer++) {
            work.compute(work.stream);
            work.dispatch(work.stream);
            work.compute(work.stream);
            work.combine(work.stream);
        }
    }

    private final String title;
    private final BiFunction<LayerWork, Integer, StepPattern> maker;

    Patterns(String title, BiFunction<LayerWork, Integer, StepPattern> maker) {
        this.title = title;
        this.maker = maker;
    }

    String title() {
        return title;
    }

    StepPattern make(LayerWork work, int layers) {
        return maker.apply(work, layers);
    }
}
