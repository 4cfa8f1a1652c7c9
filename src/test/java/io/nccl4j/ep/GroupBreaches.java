package io.nccl4j.ep;

import static io.nccl4j.ep.RuleBench.highThroughput;
import static io.nccl4j.ep.RuleBench.lowLatency;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.nccl.DataType;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.FutureTask;

/** Wrong configurations of a group, wrong threads and devices, wrong mask calls. */
final class GroupBreaches {
    private GroupBreaches() {
    }

    static List<Breach> all() {
        return List.of(Breach.unseen(Rule.THREAD, "another thread updates", "call bindToCurrentThread()", b -> {
            RuleBench.Calls calls = b.calls(lowLatency(Layout.EXPERT_MAJOR));
            onAnotherThread(Thread.ofPlatform(), calls::update);
        }), Breach.unseen(Rule.PLATFORM_THREAD, "a virtual thread takes the group over", "on a virtual thread", b -> {
            EpGroup group = b.group(lowLatency(Layout.EXPERT_MAJOR));
            onAnotherThread(Thread.ofVirtual(), group::bindToCurrentThread);
        }), Breach.unseen(Rule.TENSOR_EXTENTS, "a tensor larger than its memory",
                "takes 2048 bytes: the memory has 1024",
                b -> EpTensor.of(b.own(DeviceMemory.allocate(b.rank.device(), 1024)), DataType.FLOAT32, 2, 256)),
                Breach.unseen(Rule.TENSOR_EXTENTS, "no extents", "must have at least one extent",
                        b -> EpTensor.of(b.own(DeviceMemory.allocate(b.rank.device(), 1024)), DataType.FLOAT32)),
                Breach.unseen(Rule.TENSOR_ROWS, "more rows than there is room for", "room for 0 to 8",
                        b -> b.tensor(DataType.INT64, 8, 2).rows(9)),
                Breach.error(Rule.DEVICE, "a stream of another device", "works on CUDA device", b -> {
                    RuleBench.Calls calls = b.calls(lowLatency(Layout.EXPERT_MAJOR)).update();
                    CudaDevice other = CudaDevice.of(b.rank.rank() + 8);
                    CudaStream stream = b.own(CudaStream.create(other));
                    calls.handle.dispatch(calls.inputs, calls.outputs, calls.info, stream);
                }),
                Breach.misuse(Rule.DEVICE_MEMORY, "a group larger than the device", "bytes of device memory",
                        b -> b.calls(lowLatency(Layout.EXPERT_MAJOR).maxTokensPerRank(16_000).maxTokenBytes(1 << 20))),
                Breach.misuse(Rule.SAME_ON_ALL_RANKS, "another budget on each rank", "rank 1 for HIGH_THROUGHPUT",
                        b -> b.group(highThroughput(Layout.FLAT).maxReceiveRows(16 + b.rank.rank()))),
                Breach.unseen(Rule.GROUP_SIZES, "no tokens", "must be given and positive",
                        b -> b.group(lowLatency(Layout.EXPERT_MAJOR).maxTokensPerRank(0))),
                Breach.unseen(Rule.GROUP_SIZES, "no experts", "must be given and positive",
                        b -> b.group(lowLatency(Layout.EXPERT_MAJOR).experts(0))),
                Breach.misuse(Rule.EXPERTS_PER_RANK, "9 experts on 2 ranks", "9 experts on 2 ranks",
                        b -> b.calls(lowLatency(Layout.EXPERT_MAJOR).experts(9))),
                Breach.error(Rule.TOKEN_BYTES, "maxTokenBytes 100", "must be a multiple of 16",
                        b -> b.group(highThroughput(Layout.FLAT).maxTokenBytes(100))),
                Breach.misuse(Rule.RECEIVE_BUDGET, "a budget of less than the own tokens", "at least the 8 tokens",
                        b -> b.group(highThroughput(Layout.FLAT).maxReceiveRows(4))),
                Breach.misuse(Rule.GROUP_TOPK, "topK above the experts", "from 1 to the 8 experts",
                        b -> b.group(EpGroupConfig.highThroughput().experts(8).maxTokensPerRank(8).maxTokenBytes(128)
                                .topK(9).eager())),
                Breach.misuse(Rule.EAGER_DROP, "drop without a budget",
                        "has no receive budget beyond which it could DROP",
                        b -> b.group(highThroughput(Layout.FLAT).eager().overflow(OverflowPolicy.DROP))),
                Breach.unseen(Rule.EAGER_BOUND, "an eager group of 2^31 tokens", "could receive",
                        b -> b.group(highThroughput(Layout.FLAT).eager().maxTokensPerRank(1 << 30).topK(8))),
                Breach.error(Rule.SMS, "more SMs than there are", "maxSms is 1000",
                        b -> b.group(lowLatency(Layout.EXPERT_MAJOR).maxSms(1000))),
                Breach.unseen(Rule.HT_SMS, "17 SMs for high throughput", "can use at most 16",
                        b -> b.group(highThroughput(Layout.FLAT).maxSms(17))),
                Breach.error(Rule.LL_EXPERTS_PER_SM, "30 experts on 2 SMs", "at most 14 per SM",
                        b -> b.group(lowLatency(Layout.EXPERT_MAJOR).experts(30).maxSms(2))),
                Breach.error(Rule.LL_BLOCKS, "one SM", "needs 2 of each",
                        b -> b.calls(lowLatency(Layout.EXPERT_MAJOR).maxSms(1)).update().dispatch().await()),
                Breach.misuse(Rule.HT_EXPERTS_BY_FOUR, "6 experts", "needs a multiple of 4",
                        b -> b.calls(highThroughput(Layout.FLAT).experts(6)).update().dispatch()),
                Breach.misuse(Rule.HT_TOKENS_BY_FOUR, "9 tokens on 2 ranks", "needs a multiple of 4",
                        b -> b.calls(highThroughput(Layout.FLAT).maxTokensPerRank(9)).update().dispatch()),
                Breach.unseen(Rule.TIMEOUT, "a timeout of a microsecond", "at least a millisecond",
                        b -> b.group(lowLatency(Layout.EXPERT_MAJOR).timeout(Duration.ofNanos(1000)))),
                Breach.unseen(Rule.MASK_NEEDS_LL, "a high-throughput group with masks", "low-latency groups only",
                        b -> b.group(highThroughput(Layout.FLAT).mask())),
                Breach.misuse(Rule.LL_REGIONS, "regions of no multiple of 16 bytes", "would not be multiples of 16",
                        b -> b.calls(lowLatency(Layout.RANK_MAJOR).maxTokensPerRank(1).maxTokenBytes(256).topK(1))),
                Breach.error(Rule.LL_BUFFER, "an RDMA buffer that is too small", "rdmaBufferBytes is 4096",
                        b -> b.calls(lowLatency(Layout.EXPERT_MAJOR).rdmaBufferBytes(4096))),
                Breach.unseen(Rule.LL_TOKENS, "16,384 tokens of a rank in low latency", "can count 16383 rows",
                        b -> b.group(lowLatency(Layout.EXPERT_MAJOR).maxTokensPerRank(16_384))),
                Breach.error(Rule.MASK, "a mask query without a mask", "whose configuration has mask()",
                        b -> b.group(lowLatency(Layout.EXPERT_MAJOR)).maskQuery(b.tensor(DataType.INT32, 2), b.stream)),
                Breach.error(Rule.MASK, "an async error without a mask", "asyncError needs a low-latency group",
                        b -> b.group(lowLatency(Layout.EXPERT_MAJOR)).asyncError()),
                Breach.unseen(Rule.MASK_RANKS, "a mask query into too small a tensor", "must be INT32 [2]",
                        b -> b.group(lowLatency(Layout.EXPERT_MAJOR).mask()).maskQuery(b.tensor(DataType.INT32, 1),
                                b.stream)),
                Breach.misuse(Rule.MASK_BUFFER, "a clean before the first handle", "there is no RDMA buffer yet",
                        b -> b.group(lowLatency(Layout.EXPERT_MAJOR).mask().growingRdmaBuffer()).maskClean(b.stream)));
    }

    private static void onAnotherThread(Thread.Builder builder, Runnable body) throws Exception {
        FutureTask<Void> task = new FutureTask<>(body, null);
        builder.start(task);
        try {
            task.get();
        } catch (java.util.concurrent.ExecutionException e) {
            throw (RuntimeException) e.getCause();
        }
    }
}
