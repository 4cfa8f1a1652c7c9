package io.nccl4j.ep;

import static io.nccl4j.ep.RuleBench.highThroughput;
import static io.nccl4j.ep.RuleBench.lowLatency;

import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;

/** Handles that a group cannot have, and wrong updates. */
final class HandleBreaches {
    private static final String LOCAL_DUP = "NCCL_EP_HT_EM_LOCAL_DUP";

    private HandleBreaches() {
    }

    static List<Breach> all() {
        return List.of(
                Breach.misuse(Rule.LAYOUT, "RANK_MAJOR with high throughput", "has no layout RANK_MAJOR",
                        b -> b.group(highThroughput(Layout.FLAT).maxReceiveRows(64)).createHandle(Layout.RANK_MAJOR, 2,
                                HandleConfig.defaults())),
                Breach.error(Rule.TOPK, "topK 32 with low latency", "can do at most 31",
                        b -> b.calls(lowLatency(Layout.EXPERT_MAJOR).experts(64).topK(32))),
                Breach.error(Rule.TOPK, "topK 0", "from 1 to the 8 experts",
                        b -> b.group(highThroughput(Layout.FLAT)).createHandle(Layout.FLAT, 0,
                                HandleConfig.defaults())),
                Breach.unseen(Rule.LL_ONE_SHAPE, "another layout in a low-latency group",
                        "another shape is another group",
                        b -> b.group(lowLatency(Layout.EXPERT_MAJOR)).createHandle(Layout.RANK_MAJOR, 2,
                                HandleConfig.defaults())),
                Breach.error(Rule.EAGER_TOPK, "EXPERT_MAJOR in an eager group without topK", "must name topK",
                        b -> b.group(highThroughput(Layout.EXPERT_MAJOR).eager().topK(0))
                                .createHandle(Layout.EXPERT_MAJOR, 2, HandleConfig.defaults())),
                Breach.misuse(Rule.DUP_BUDGET, "a small budget in a duplicating mode", "mode LOCAL_DUP needs 32",
                        b -> b.calls(highThroughput(Layout.EXPERT_MAJOR).maxReceiveRows(16))).with(LOCAL_DUP),
                Breach.unseen(Rule.TOPK, "topK 33 with EXPERT_MAJOR of high throughput", "can do at most 32",
                        b -> b.group(highThroughput(Layout.EXPERT_MAJOR).experts(64).topK(33))),
                Breach.unseen(Rule.RECEIVE_BUDGET, "a default budget that is too small", "give maxReceiveRows",
                        b -> b.group(highThroughput(Layout.FLAT)).createHandle(Layout.EXPERT_MAJOR, 2,
                                HandleConfig.defaults())),
                Breach.unseen(Rule.DUP_EXPERTS, "topK 9 with nine local experts", "at most 8 experts",
                        b -> b.group(highThroughput(Layout.EXPERT_MAJOR).experts(32).topK(9))).with(LOCAL_DUP),
                Breach.unseen(Rule.DUP_RANKS, "129 ranks in a duplicating mode", "can number at most 128", b -> {
                    GroupShape group = GroupShape.of(highThroughput(Layout.EXPERT_MAJOR).experts(129 * 4), 129, 1,
                            DeviceLimits.of(b.rank.device()));
                    Violations violations = new Violations();
                    HandleRules.checkShape(new HandleShape(group, Layout.EXPERT_MAJOR, 2, 0), violations);
                    violations.refuse();
                }).with(LOCAL_DUP),
                Breach.misuse(Rule.ALIGNMENT, "an alignment of 3", "must be a power of two",
                        b -> b.group(highThroughput(Layout.EXPERT_MAJOR).maxReceiveRows(64))
                                .createHandle(Layout.EXPERT_MAJOR, 2, HandleConfig.defaults().alignment(3))),
                Breach.unseen(Rule.DROP_ALIGNMENT, "a budget of no multiple of the alignment",
                        "must be a multiple of the alignment",
                        b -> b.group(
                                highThroughput(Layout.EXPERT_MAJOR).maxReceiveRows(34).overflow(OverflowPolicy.DROP))
                                .createHandle(Layout.EXPERT_MAJOR, 2, HandleConfig.defaults().alignment(4)))
                        .with(LOCAL_DUP),
                Breach.misuse(Rule.EM_EXPERTS, "6 experts per rank in a duplicating mode", "needs a power of two",
                        b -> b.calls(highThroughput(Layout.EXPERT_MAJOR).experts(12)).update()).with(LOCAL_DUP),
                Breach.misuse(Rule.EM_EXPERTS, "258 experts per rank", "can do at most 256",
                        b -> b.calls(highThroughput(Layout.EXPERT_MAJOR).experts(516)).update().dispatch()),
                Breach.misuse(Rule.HANDLE_MEMORY, "too little handle memory", "the handle needs",
                        b -> b.group(lowLatency(Layout.EXPERT_MAJOR)).createHandle(
                                HandleConfig.defaults().memory(b.own(DeviceMemory.allocate(b.rank.device(), 256))))),
                Breach.unseen(Rule.HANDLE_MEMORY, "two handles on the same memory", "a handle needs memory of its own",
                        b -> {
                            EpGroup group = b.group(lowLatency(Layout.EXPERT_MAJOR));
                            DeviceMemory memory = b.own(DeviceMemory.allocate(b.rank.device(), 1 << 16));
                            b.own(group.createHandle(HandleConfig.defaults().memory(memory)));
                            group.createHandle(HandleConfig.defaults().memory(memory));
                        }),
                Breach.unseen(Rule.EM_ROWS, "2^22 rows in a duplicating mode", "can number at most 4194303",
                        b -> b.group(highThroughput(Layout.EXPERT_MAJOR).zeroCopy(ZeroCopy.ON).maxTokensPerRank(1 << 20)
                                .maxReceiveRows(1 << 22))),
                Breach.error(Rule.ADDRESS, "a routing that is not aligned", "must be a multiple of 8", b -> {
                    RuleBench.Calls calls = b.calls(highThroughput(Layout.FLAT));
                    calls.routing = EpTensor.of(b.own(b.tensor(DataType.UINT8, 1024).memory().slice(4, 512)),
                            DataType.INT64, 8, 2);
                    calls.update().await();
                }),
                Breach.misuse(Rule.ROUTING_SHAPE, "routing of one dimension", "must be [tokens, 2]",
                        Breach.update(lowLatency(Layout.EXPERT_MAJOR),
                                (b, c) -> c.routing = b.routing(DataType.INT64, 8))),
                Breach.misuse(Rule.ROUTING_SHAPE, "routing of three columns", "must be [tokens, 2]",
                        Breach.update(highThroughput(Layout.FLAT),
                                (b, c) -> c.routing = b.routing(DataType.INT64, 8, 3))),
                Breach.misuse(Rule.ROUTING_SHAPE, "more tokens than the group has room for", "at most 8 per rank",
                        b -> {
                            RuleBench.Calls calls = b.calls(highThroughput(Layout.FLAT));
                            calls.routing = b.routing(DataType.INT64, 9, 2);
                            calls.update();
                        }),
                Breach.misuse(Rule.ROUTING_TYPE, "routing in float32", "must be INT64 or INT32",
                        Breach.update(lowLatency(Layout.EXPERT_MAJOR),
                                (b, c) -> c.routing = b.tensor(DataType.FLOAT32, 8, 2))),
                Breach.misuse(Rule.ROUTING_VALUES, "an expert that is not there", "routes to expert 8", b -> {
                    RuleBench.Calls calls = b.calls(lowLatency(Layout.EXPERT_MAJOR));
                    try (Arena arena = Arena.ofConfined()) {
                        MemorySegment host = arena.allocateFrom(ValueLayout.JAVA_LONG, 0, -1, 7, -1, 8, 0, -1, -1, 0, 1,
                                2, 3, 4, 5, 6, 7);
                        calls.handle.checkRouting(host, DataType.INT64, 8);
                        calls.routing.memory().copyFrom(host);
                    }
                    calls.update().dispatch().await();
                }), Breach.misuse(Rule.LL_UPDATE_INFO, "a layout info for a low-latency update",
                        "low latency takes it in dispatch", b -> {
                            RuleBench.Calls calls = b.calls(lowLatency(Layout.EXPERT_MAJOR));
                            calls.handle.update(calls.routing, calls.info, b.stream);
                        }),
                Breach.misuse(Rule.HT_COUNTERS, "too few counters", "with at least 4 elements",
                        Breach.update(highThroughput(Layout.FLAT),
                                (b, c) -> c.updateInfo = LayoutInfo.of(b.tensor(DataType.INT32, 3)))),
                Breach.misuse(Rule.HT_COUNTERS, "counters of two types", "must be of one type",
                        Breach.update(highThroughput(Layout.EXPERT_MAJOR),
                                (b, c) -> c.updateInfo = LayoutInfo.of(b.tensor(DataType.INT32, 4))
                                        .receivedTotal(b.tensor(DataType.INT64, 1)))),
                Breach.misuse(Rule.HT_COUNTERS, "int64 counters for FLAT", "must be INT32 for FLAT",
                        Breach.update(highThroughput(Layout.FLAT),
                                (b, c) -> c.updateInfo = LayoutInfo.of(b.tensor(DataType.INT64, 4)))));
    }
}
