package io.nccl4j.ep;

import static io.nccl4j.ep.RuleBench.HT_HIDDEN;
import static io.nccl4j.ep.RuleBench.highThroughput;

import io.nccl4j.nccl.DataType;
import java.util.List;

/** Wrong dispatches and combines of high throughput. The budget of these groups is 16 rows. */
final class HighThroughputBreaches {
    private HighThroughputBreaches() {
    }

    private static Breach.Body dispatch(Layout layout, Breach.Change change) {
        return Breach.dispatch(highThroughput(layout), change);
    }

    private static Breach.Body combine(Layout layout, Breach.Change change) {
        return Breach.combine(highThroughput(layout), change);
    }

    static List<Breach> all() {
        return List.of(Breach.unseen(Rule.UPDATED, "the only update is in a graph that never ran",
                "its graph was never launched", b -> {
                    RuleBench.Calls c = b.calls(highThroughput(Layout.FLAT));
                    b.own(b.stream.capture(c::update));
                    c.dispatch();
                }),
                Breach.unseen(Rule.HT_SEND_ONLY, "a send half", "has no send halves",
                        dispatch(Layout.FLAT, (b, c) -> c.dispatchConfig = DispatchConfig.defaults().sendOnly())),
                Breach.misuse(Rule.DISPATCH_TOKENS, "fewer tokens than routed", "must have 8 rows",
                        dispatch(Layout.FLAT, (b, c) -> c.inputs.tokens().rows(7))),
                Breach.misuse(Rule.ROW_BYTES, "rows longer than maxTokenBytes", "maxTokenBytes 128",
                        dispatch(Layout.FLAT, (b, c) -> {
                            c.inputs = DispatchInputs.of(b.tensor(DataType.BFLOAT16, 8, 128), c.weights);
                            c.outputs = DispatchOutputs.of(b.tensor(DataType.BFLOAT16, 16, 128), c.outputs.weights(),
                                    c.outputs.indices());
                        })),
                Breach.misuse(Rule.ROW_BYTES, "longer rows in combine", "maxTokenBytes 128",
                        combine(Layout.FLAT, (b, c) -> {
                            c.combineInputs = CombineInputs.of(b.tensor(DataType.BFLOAT16, 16, 128));
                            c.combineOutputs = CombineOutputs.of(b.tensor(DataType.BFLOAT16, 8, 128));
                        })),
                Breach.misuse(Rule.ROW_LENGTH, "rows of no multiple of 16 bytes", "must be a multiple of 16",
                        dispatch(Layout.FLAT, (b, c) -> {
                            c.inputs = DispatchInputs.of(b.tensor(DataType.BFLOAT16, 8, 12), c.weights);
                            c.outputs = DispatchOutputs.of(b.tensor(DataType.BFLOAT16, 16, 12), c.outputs.weights(),
                                    c.outputs.indices());
                        })),
                Breach.misuse(Rule.ROW_LENGTH, "combine of 12 float32", "needs a multiple of 8",
                        combine(Layout.FLAT, (b, c) -> {
                            c.combineInputs = CombineInputs.of(b.tensor(DataType.FLOAT32, 16, 12));
                            c.combineOutputs = CombineOutputs.of(b.tensor(DataType.FLOAT32, 8, 12));
                        })),
                Breach.misuse(Rule.HT_OUTPUTS, "narrower rows out", "like the tokens",
                        dispatch(Layout.FLAT,
                                (b, c) -> c.outputs = DispatchOutputs.of(b.tensor(DataType.BFLOAT16, 16, 32),
                                        c.outputs.weights(), c.outputs.indices()))),
                Breach.misuse(Rule.HT_OUTPUTS, "indices in int32", "needs INT64[16, 2]",
                        dispatch(Layout.FLAT,
                                (b, c) -> c.outputs = DispatchOutputs.of(c.outputs.tokens(), c.outputs.weights(),
                                        b.tensor(DataType.INT32, 16, 2)))),
                Breach.error(Rule.HT_OUTPUTS, "no weights out", "needs FLOAT32[32]",
                        dispatch(Layout.EXPERT_MAJOR, (b, c) -> c.outputs = DispatchOutputs.of(c.outputs.tokens()))),
                Breach.error(Rule.HT_OUTPUT_ROWS, "fewer rows than the budget", "the receive budget is 16",
                        dispatch(Layout.FLAT, (b, c) -> c.outputs.tokens().rows(15))),
                Breach.error(Rule.HT_OUTPUT_ROWS, "fewer weights than tokens in eager mode", "as many as tokens",
                        Breach.dispatch(highThroughput(Layout.FLAT).eager(),
                                (b, c) -> c.outputs = DispatchOutputs.of(c.outputs.tokens(),
                                        b.tensor(DataType.FLOAT32, 2, 2), b.tensor(DataType.INT64, 2, 2)))),
                Breach.error(Rule.HT_DIRECTION, "no weights in", "forward pass, needs FLOAT32[8, 2]",
                        dispatch(Layout.FLAT, (b, c) -> c.inputs = DispatchInputs.of(c.inputs.tokens()))),
                Breach.error(Rule.HT_DIRECTION, "weights in a backward pass", "backward pass, has none", dispatch(
                        Layout.FLAT,
                        (b, c) -> c.dispatchConfig = DispatchConfig.defaults().direction(PassDirection.BACKWARD))),
                Breach.error(Rule.HT_OUTPUTS, "indices out of EXPERT_MAJOR", "forward pass, has none",
                        dispatch(Layout.EXPERT_MAJOR,
                                (b, c) -> c.outputs = DispatchOutputs.of(c.outputs.tokens(), c.outputs.weights(),
                                        b.tensor(DataType.INT64, 32, 2)))),
                Breach.error(Rule.HT_DIRECTION, "weights in a forward combine", "forward pass, has none",
                        combine(Layout.FLAT,
                                (b, c) -> c.combineInputs = CombineInputs.of(c.combineInputs.tokens(),
                                        b.tensor(DataType.FLOAT32, 16, 2)))),
                Breach.error(Rule.HT_DIRECTION, "a backward combine without weights", "backward pass, needs", combine(
                        Layout.FLAT,
                        (b, c) -> c.combineConfig = CombineConfig.defaults().direction(PassDirection.BACKWARD))),
                Breach.unseen(Rule.RECIPE_AVAILABLE, "DS_FP8E3M4 with high throughput", "exists for low latency only",
                        dispatch(Layout.FLAT,
                                (b, c) -> c.dispatchConfig = DispatchConfig.defaults()
                                        .recipe(DispatchRecipe.DS_FP8E3M4))),
                Breach.error(Rule.ZERO_COPY_WINDOWS, "zero copy without a window", "ZeroCopy.ON needs them in a window",
                        Breach.dispatch(highThroughput(Layout.FLAT).zeroCopy(ZeroCopy.ON), (b, c) -> {
                        })),
                Breach.error(Rule.EAGER_CAPTURE, "a capture of an eager dispatch",
                        "the group is eager and reads counts", b -> {
                            RuleBench.Calls c = b.calls(highThroughput(Layout.FLAT).eager()).update();
                            b.own(b.stream.capture(c::dispatch));
                        }),
                Breach.misuse(Rule.COMBINE_SHAPE, "fewer combined rows than tokens", "needs BFLOAT16[8, 64]",
                        combine(Layout.FLAT, (b, c) -> c.combineOutputs.tokens().rows(7))),
                Breach.misuse(Rule.COMBINE_SHAPE, "experts' outputs of three dimensions", "needs BFLOAT16[16, 64]",
                        combine(Layout.FLAT,
                                (b, c) -> c.combineInputs = CombineInputs
                                        .of(b.tensor(DataType.BFLOAT16, 16, 1, HT_HIDDEN)))),
                Breach.misuse(Rule.HT_DIRECTION, "gradients of another shape", "backward pass, needs FLOAT32[16, 2]",
                        combine(Layout.FLAT, (b, c) -> {
                            c.combineInputs = CombineInputs.of(c.combineInputs.tokens(),
                                    b.tensor(DataType.FLOAT32, 16, 1));
                            c.combineOutputs = CombineOutputs.of(c.combineOutputs.tokens(),
                                    b.tensor(DataType.FLOAT32, 8, 2));
                            c.combineConfig = CombineConfig.defaults().direction(PassDirection.BACKWARD);
                        })),
                Breach.misuse(Rule.COMBINE_TYPE, "another type combined", "must be of one type", combine(Layout.FLAT,
                        (b, c) -> c.combineOutputs = CombineOutputs.of(b.tensor(DataType.FLOAT16, 8, HT_HIDDEN)))),
                Breach.misuse(Rule.COMBINE_ROWS, "fewer expert outputs than were received",
                        "dispatch has filled up to 16",
                        combine(Layout.FLAT, (b, c) -> c.combineInputs.tokens().rows(1))),
                Breach.misuse(Rule.COMBINE_ROWS, "more gradients than the budget", "takes at most 16",
                        combine(Layout.FLAT, (b, c) -> {
                            c.combineInputs = CombineInputs.of(b.tensor(DataType.BFLOAT16, 20, HT_HIDDEN),
                                    b.tensor(DataType.FLOAT32, 20, 2));
                            c.combineOutputs = CombineOutputs.of(c.combineOutputs.tokens(),
                                    b.tensor(DataType.FLOAT32, 8, 2));
                            c.combineConfig = CombineConfig.defaults().direction(PassDirection.BACKWARD);
                        })));
    }
}
