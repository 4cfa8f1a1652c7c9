package io.nccl4j.architecture;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;

/** Makes each call of a layer with arguments that are new, then with the same: {@link CallPathTest} watches. */
final class CallPathProcess {
    /** Before the name of a call with new arguments. */
    static final String FIRST = "first ";
    /** Before the name of one that only initialises the classes. */
    static final String UNWATCHED = "warm-up ";
    /** The last call: in it the library calls itself. */
    static final String CAPTURE = "capture of dispatchAsync";

    private CallPathProcess() {
    }

    /** Called by name only: the watcher stops here. */
    @SuppressWarnings("unused")
    private static void begin(String call) {
    }

    @SuppressWarnings("unused")
    private static void end() {
    }

    private static void watched(String call, Runnable action) {
        begin(call);
        action.run();
        end();
    }

    public static void main(String[] arguments) {
        for (LayerKind kind : LayerKind.values()) {
            EpCase model = kind.draw(1, 1);
            MoeRank.run(EmulatedCluster.of(1), kind, model, (moe, other) -> {
                step(other, other.rows().calls(), UNWATCHED, model, moe.stream());
                MoeLayer layer = moe.layer();
                LayerCalls calls = layer.rows().calls();
                step(layer, calls, FIRST + kind + " ", model, moe.stream());
                step(layer, calls, kind + " ", model, moe.stream());
                if (kind == LayerKind.HT_EXPERT_MAJOR) {
                    watched(CAPTURE, () -> layer.capture(1).close());
                }
            });
        }
        System.out.println("done");
        System.exit(0);
    }

    private static void step(MoeLayer layer, LayerCalls calls, String name, EpCase batch, CudaStream stream) {
        EpHandle handle = layer.handle();
        int tokens = layer.rows().shape().maxTokens();
        layer.load(batch);
        watched(name + "dispatchAsync", () -> handle.dispatchAsync(layer.buffers(), tokens, stream));
        watched(name + "combineAsync", () -> handle.combineAsync(layer.buffers(), stream));
        stream.synchronize();
        watched(name + "update", () -> calls.update(handle, stream));
        watched(name + "dispatch", () -> calls.dispatch(handle, stream));
        watched(name + "combine", () -> calls.combine(handle, stream));
        stream.synchronize();
    }
}
