package io.nccl4j.ep;

import static io.nccl4j.ep.RuleBench.LL_HIDDEN;
import static io.nccl4j.ep.RuleBench.lowLatency;

import io.nccl4j.nccl.DataType;
import java.util.List;

/** Wrong dispatches and combines of low latency. */
final class LowLatencyBreaches {
    private LowLatencyBreaches() {
    }

    private static Breach.Body dispatch(Layout layout, Breach.Change change) {
        return Breach.dispatch(lowLatency(layout), change);
    }

    private static Breach.Body combine(Layout layout, Breach.Change change) {
        return Breach.combine(lowLatency(layout), change);
    }

    static List<Breach> all() {
        return List.of(
                Breach.error(Rule.UPDATED, "dispatch before update", "before its first update",
                        b -> b.calls(lowLatency(Layout.EXPERT_MAJOR)).dispatch()),
                Breach.unseen(Rule.UPDATED, "combine before update", "before its first update",
                        b -> b.calls(lowLatency(Layout.EXPERT_MAJOR)).combine()),
                Breach.unseen(Rule.UPDATED, "the routing is gone", "update again",
                        dispatch(Layout.EXPERT_MAJOR, (b, c) -> c.routing.memory().close())),
                Breach.error(Rule.DISPATCHED, "combine before dispatch", "before its first dispatch",
                        b -> b.calls(lowLatency(Layout.EXPERT_MAJOR)).update().combine().await()),
                Breach.misuse(Rule.DISPATCH_TOKENS, "fewer tokens than routed", "must have 8 rows",
                        dispatch(Layout.EXPERT_MAJOR, (b, c) -> c.inputs.tokens().rows(7))),
                Breach.error(Rule.DISPATCH_TOKENS, "tokens of one dimension", "tokens be [8, hidden]",
                        dispatch(Layout.EXPERT_MAJOR,
                                (b, c) -> c.inputs = DispatchInputs.of(b.tensor(DataType.BFLOAT16, 8, 1, LL_HIDDEN)))),
                Breach.misuse(Rule.ROW_BYTES, "rows longer than maxTokenBytes", "maxTokenBytes 1024",
                        dispatch(Layout.EXPERT_MAJOR, (b, c) -> {
                            c.inputs = DispatchInputs.of(b.tensor(DataType.BFLOAT16, 8, 1024));
                            c.outputs = DispatchOutputs.of(b.tensor(DataType.BFLOAT16, 4, 16, 1024));
                        })),
                Breach.misuse(Rule.ROW_BYTES, "longer rows in combine", "maxTokenBytes 1024",
                        combine(Layout.EXPERT_MAJOR, (b, c) -> {
                            c.combineInputs = CombineInputs.of(b.tensor(DataType.FLOAT32, 4, 16, LL_HIDDEN));
                            c.combineOutputs = CombineOutputs.of(b.tensor(DataType.FLOAT32, 8, LL_HIDDEN), c.weights);
                        })),
                Breach.error(Rule.ROW_LENGTH, "hidden 272", "needs a multiple of 256",
                        dispatch(Layout.EXPERT_MAJOR, (b, c) -> {
                            c.inputs = DispatchInputs.of(b.tensor(DataType.BFLOAT16, 8, 272));
                            c.outputs = DispatchOutputs.of(b.tensor(DataType.BFLOAT16, 4, 16, 272));
                        })),
                Breach.error(Rule.RECIPE_TYPES, "tokens in int32", "dispatch takes",
                        dispatch(Layout.EXPERT_MAJOR, (b, c) -> {
                            c.inputs = DispatchInputs.of(b.tensor(DataType.INT32, 8, 256));
                            c.outputs = DispatchOutputs.of(b.tensor(DataType.INT32, 4, 16, 256));
                        })),
                Breach.error(Rule.RECIPE_TYPES, "another type out than in", "must be of one type", dispatch(
                        Layout.EXPERT_MAJOR,
                        (b, c) -> c.outputs = DispatchOutputs.of(b.tensor(DataType.FLOAT16, 4, 16, LL_HIDDEN)))),
                Breach.error(Rule.RECIPE_SCALES, "scales without a recipe", "without a recipe there are none",
                        dispatch(Layout.EXPERT_MAJOR,
                                (b, c) -> c.inputs = DispatchInputs.of(c.inputs.tokens(), null,
                                        b.tensor(DataType.FLOAT32, 8, 4)))),
                Breach.error(Rule.RECIPE_SCALES, "a recipe without scales", "makes them",
                        dispatch(Layout.EXPERT_MAJOR, (b, c) -> {
                            c.outputs = DispatchOutputs.of(b.tensor(DataType.FLOAT8_E4M3, 4, 16, LL_HIDDEN));
                            c.dispatchConfig = DispatchConfig.defaults().recipe(DispatchRecipe.DS_FP8E3M4);
                        })),
                Breach.error(Rule.ADDRESS, "forwarded scales not aligned", "must be a multiple of 16",
                        dispatch(Layout.EXPERT_MAJOR, (b, c) -> {
                            EpTensor scales = EpTensor.of(b.own(b.tensor(DataType.UINT8, 1024).memory().slice(8, 256)),
                                    DataType.FLOAT32, 8, 4);
                            c.inputs = DispatchInputs.of(b.tensor(DataType.FLOAT8_E4M3, 8, LL_HIDDEN), null, scales);
                            c.outputs = DispatchOutputs.of(b.tensor(DataType.FLOAT8_E4M3, 4, 16, LL_HIDDEN), null, null,
                                    b.tensor(DataType.FLOAT32, 4, 16, 4));
                            c.dispatchConfig = DispatchConfig.defaults().recipe(DispatchRecipe.QUANT_FWD);
                        })),
                Breach.error(Rule.RECIPE_AVAILABLE, "4-bit floats on a device without", "this is LOW_LATENCY on 9.0",
                        combine(Layout.EXPERT_MAJOR, (b, c) -> {
                            c.combineInputs = CombineInputs.of(c.combineInputs.tokens(), null,
                                    b.tensor(DataType.FLOAT32, 4, 16, 1));
                            c.combineConfig = CombineConfig.defaults().recipe(CombineRecipe.NVFP4);
                        })),
                Breach.error(Rule.LL_DIRECTION, "a backward pass", "forward pass only", dispatch(Layout.EXPERT_MAJOR,
                        (b, c) -> c.dispatchConfig = DispatchConfig.defaults().direction(PassDirection.BACKWARD))),
                Breach.error(Rule.LL_DIRECTION, "a backward combine", "forward pass only", combine(Layout.EXPERT_MAJOR,
                        (b, c) -> c.combineConfig = CombineConfig.defaults().direction(PassDirection.BACKWARD))),
                Breach.misuse(Rule.LL_OUTPUTS, "zones that are too small", "needs BFLOAT16[4, 16, 512]", dispatch(
                        Layout.EXPERT_MAJOR,
                        (b, c) -> c.outputs = DispatchOutputs.of(b.tensor(DataType.BFLOAT16, 4, 8, LL_HIDDEN)))),
                Breach.misuse(Rule.LL_OUTPUTS, "RANK_MAJOR without indices", "needs FLOAT32[2, 8, 2]",
                        dispatch(Layout.RANK_MAJOR, (b, c) -> c.outputs = DispatchOutputs.of(c.outputs.tokens()))),
                Breach.misuse(Rule.LL_WEIGHTS, "RANK_MAJOR without weights", "needs FLOAT32[8, 2]",
                        dispatch(Layout.RANK_MAJOR, (b, c) -> c.inputs = DispatchInputs.of(c.inputs.tokens()))),
                Breach.misuse(Rule.LL_WEIGHTS, "EXPERT_MAJOR with weights", "takes them in combine",
                        dispatch(Layout.EXPERT_MAJOR,
                                (b, c) -> c.inputs = DispatchInputs.of(c.inputs.tokens(), c.weights))),
                Breach.misuse(Rule.LL_INFO, "EXPERT_MAJOR without counters", "needs INT32[4]",
                        dispatch(Layout.EXPERT_MAJOR, (b, c) -> c.info = null)),
                Breach.misuse(Rule.LL_INFO, "RANK_MAJOR with expert counters", "RANK_MAJOR of low latency has none",
                        dispatch(Layout.RANK_MAJOR, (b, c) -> c.info = LayoutInfo.of(b.tensor(DataType.INT32, 4)))),
                Breach.error(Rule.SEND_PENDING, "a send half after a send half", "complete it first",
                        dispatch(Layout.EXPERT_MAJOR, (b, c) -> {
                            c.dispatchConfig = DispatchConfig.defaults().sendOnly();
                            c.dispatch();
                        })),
                Breach.unseen(Rule.SEND_PENDING, "a handle that is closed with a send half pending",
                        "complete it first", b -> {
                            RuleBench.Calls c = b.calls(lowLatency(Layout.EXPERT_MAJOR)).update();
                            c.dispatchConfig = DispatchConfig.defaults().sendOnly();
                            c.dispatch();
                            try {
                                c.handle.close();
                            } finally {
                                c.handle.complete();
                                c.await();
                            }
                        }),
                Breach.unseen(Rule.SEND_CAPTURE, "a send half alone in a graph", "complete it in the same capture",
                        b -> {
                            RuleBench.Calls c = b.calls(lowLatency(Layout.EXPERT_MAJOR)).update();
                            c.dispatchConfig = DispatchConfig.defaults().sendOnly();
                            b.own(b.stream.capture(c::dispatch));
                        }),
                Breach.misuse(Rule.COMBINE_WEIGHTS, "EXPERT_MAJOR without weights in combine",
                        "which EXPERT_MAJOR reads in combine",
                        combine(Layout.EXPERT_MAJOR,
                                (b, c) -> c.combineOutputs = CombineOutputs.of(c.combineOutputs.tokens()))),
                Breach.misuse(Rule.COMBINE_SHAPE, "zones that are too small in combine", "needs BFLOAT16[4, 16, 512]",
                        combine(Layout.EXPERT_MAJOR,
                                (b, c) -> c.combineInputs = CombineInputs
                                        .of(b.tensor(DataType.BFLOAT16, 4, 8, LL_HIDDEN)))),
                Breach.misuse(Rule.COMBINE_SHAPE, "fewer combined rows than tokens", "needs BFLOAT16[8, 512]",
                        combine(Layout.EXPERT_MAJOR, (b, c) -> c.combineOutputs.tokens().rows(7))),
                Breach.misuse(Rule.COMBINE_TYPE, "another type combined", "must be of one type",
                        combine(Layout.EXPERT_MAJOR, (b, c) -> c.combineOutputs = CombineOutputs
                                .of(b.tensor(DataType.FLOAT16, 8, LL_HIDDEN), c.weights))));
    }
}
