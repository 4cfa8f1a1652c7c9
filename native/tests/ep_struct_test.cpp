// 1.4 to 1.7: struct layouts, V1 sizes, values that are no enumerators, what is exported.
#include <dlfcn.h>

#include <cstddef>

#include "ep/introspection.h"
#include "ep_step.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

// By number, since the header's own checks compare the fields with each other only.
TEST(EpStruct, S14Layouts) {
  EXPECT_EQ(48u, sizeof(ncclEpTensor_t));
  EXPECT_EQ(12u, offsetof(ncclEpTensor_t, datatype));
  EXPECT_EQ(16u, offsetof(ncclEpTensor_t, data));
  EXPECT_EQ(24u, offsetof(ncclEpTensor_t, win_hdl));
  EXPECT_EQ(32u, offsetof(ncclEpTensor_t, win_offset));
  EXPECT_EQ(40u, offsetof(ncclEpTensor_t, sizes));
  EXPECT_EQ(8u, sizeof(ncclEpTensorAllocConfig_t));
  EXPECT_EQ(24u, sizeof(ncclEpAllocConfig_t));
  EXPECT_EQ(112u, sizeof(ncclEpGroupConfig_t));
  EXPECT_EQ(12u, offsetof(ncclEpGroupConfig_t, algorithm));
  EXPECT_EQ(24u, offsetof(ncclEpGroupConfig_t, max_recv_tokens_per_rank));
  EXPECT_EQ(32u, offsetof(ncclEpGroupConfig_t, rdma_buffer_size));
  EXPECT_EQ(48u, offsetof(ncclEpGroupConfig_t, max_num_sms));
  EXPECT_EQ(56u, offsetof(ncclEpGroupConfig_t, alloc));
  EXPECT_EQ(80u, offsetof(ncclEpGroupConfig_t, enable_mask));
  EXPECT_EQ(88u, offsetof(ncclEpGroupConfig_t, timeout_ns));
  EXPECT_EQ(104u, offsetof(ncclEpGroupConfig_t, num_topk));
  EXPECT_EQ(48u, sizeof(ncclEpLayoutInfo_t));
  EXPECT_EQ(32u, offsetof(ncclEpLayoutInfo_t, recv_total_counter));
  EXPECT_EQ(32u, sizeof(ncclEpDispatchInputs_t));
  EXPECT_EQ(40u, sizeof(ncclEpDispatchOutputs_t));
  EXPECT_EQ(32u, offsetof(ncclEpDispatchOutputs_t, topk_idx));
  EXPECT_EQ(32u, sizeof(ncclEpCombineInputs_t));
  EXPECT_EQ(24u, sizeof(ncclEpCombineOutputs_t));
  EXPECT_EQ(16u, sizeof(ncclEpHandleConfig_t));
  EXPECT_EQ(24u, sizeof(ncclEpDispatchConfig_t));
  EXPECT_EQ(16u, offsetof(ncclEpDispatchConfig_t, pass_direction));
  EXPECT_EQ(20u, sizeof(ncclEpCombineConfig_t));
  EXPECT_EQ(12u, offsetof(ncclEpCombineConfig_t, pass_direction));
  EXPECT_EQ(8u, sizeof(ncclEpCompleteConfig_t));
}

// 1.5: structs of the sizes of API version 1 are enough where no later field is needed.
TEST(EpStruct, S15V1SizesAreEnough) {
  Case facts;
  facts.shortStructs = true;
  facts.hidden = 2048;
  facts.ranks = 2;
  std::mt19937_64 random(15);
  const World world = randomWorld(facts, random);
  asThreads(2, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    Round round(rank, handle, world);
    round.load(world);
    round.spoil();
    round.all();
    synchronize(rank);
    round.check(world);
  });
}

// 1.6: what a value means that is no enumerator.
TEST(EpStruct, S16UnknownValues) {
  const Option report("misuse", "report");
  asThreads(1, [](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    ncclEpGroupConfig_t config = lowLatency(8, 8, 1024);
    config.algorithm = static_cast<ncclEpAlgorithm_t>(2);
    Misuses misuses;
    EXPECT_EP(ncclInternalError, ncclEpCreateGroup(&group, rank.comm, &config));
    EXPECT_EQ(kAbort, misuses.lastEnd());
    // zero_copy beyond ON is OFF, overflow_policy beyond DROP is TRAP: a plain step works, an eager group is not
    // refused for dropping.
    config = highThroughput(8, 8, 1024, 0);
    config.num_topk = 2;
    config.zero_copy = static_cast<ncclEpZeroCopyMode_t>(9);
    config.overflow_policy = static_cast<ncclEpOverflowPolicy_t>(9);
    Group odd(rank, config);
    Case facts = one(false, NCCL_EP_LAYOUT_FLAT);
    Handle handle(odd, facts.layout, 2);
    Step step(rank, handle, facts, 4);
    EXPECT_EP(ncclSuccess, step.update());
    EXPECT_EP(ncclSuccess, step.dispatch());
    // A direction beyond backward is backward in dispatch, where weights are forbidden.
    step.dispatchAnswers(ncclInvalidArgument, kByCode,
                         [](Step& s) { s.config.pass_direction = static_cast<ncclEpPassDir_t>(7); });
    step.dispatchAnswers(ncclInvalidArgument, kByCode,
                         [](Step& s) { s.config.quant_recipe = static_cast<ncclEpDispQuant_t>(7); });
    step.combineAnswers(ncclInvalidArgument, kByCode,
                        [](Step& s) { s.combineConfig.quant_recipe = static_cast<ncclEpCombQuant_t>(7); });
    size_t bytes = 0;
    EXPECT_EP(ncclSuccess, ncclEpHandleMemSize(odd, static_cast<ncclEpLayout_t>(77), nullptr, &bytes, 2));
    EXPECT_LT(0u, bytes);
  });
  withStep(one(true, NCCL_EP_LAYOUT_RANK_MAJOR), [](Rank&, ncclEpHandle_t, Step& step) {
    step.dispatchAnswers(ncclInvalidUsage, kByCode,
                         [](Step& s) { s.config.pass_direction = static_cast<ncclEpPassDir_t>(7); });
    step.combineAnswers(ncclInvalidUsage, kByCode,
                        [](Step& s) { s.combineConfig.pass_direction = static_cast<ncclEpPassDir_t>(7); });
  });
}

// 1.7: all of the C API, and the introspection functions under their C++ names.
TEST(EpStruct, S17Exports) {
  for (const char* name : {"ncclEpGetVersion",
                           "ncclEpTensorAlloc",
                           "ncclEpTensorDestroy",
                           "ncclEpCreateGroup",
                           "ncclEpGroupDestroy",
                           "ncclEpHandleMemSize",
                           "ncclEpInitHandle",
                           "ncclEpUpdateHandle",
                           "ncclEpCreateHandle",
                           "ncclEpHandleDestroy",
                           "ncclEpDispatch",
                           "ncclEpCombine",
                           "ncclEpComplete",
                           "ncclEpMaskQuery",
                           "ncclEpMaskUpdate",
                           "ncclEpMaskClean",
                           "ncclEpGetAsyncError",
                           "ncclEpErrorClear",
                           "_Z37ncclEpHandle_test_getSparseToDenseMapP12ncclEpHandle",
                           "_Z28ncclEpHandle_test_getNumTopkP12ncclEpHandle",
                           "_Z37ncclEpHandle_test_getMaxTokensPerRankP12ncclEpHandle",
                           "_Z34ncclEpHandle_test_getNRanksPerNodeP12ncclEpHandle",
                           "_Z35ncclEpHandle_test_getExpertsPerRankP12ncclEpHandle",
                           "_Z34ncclEpHandle_test_getNumRecvTokensP12ncclEpHandlePj",
                           "_Z30ncclEpHandle_test_clearTopkIdxP12ncclEpHandle",
                           "_Z34ncclEpGroup_test_setMaxDynamicSmemP11ncclEpGroupi",
                           "_Z46ncclEpGroup_test_getLastLlCombineWarpsPerGroupP11ncclEpGroup"}) {
    EXPECT_NE(nullptr, dlsym(RTLD_DEFAULT, name)) << name;
  }
}

// 1.7: what the introspection functions tell.
TEST(EpStruct, S17Introspection) {
  Case facts = one(false, NCCL_EP_LAYOUT_FLAT);
  withStep(facts, [](Rank& rank, ncclEpHandle_t handle, Step& step) {
    EXPECT_EQ(2, ncclEpHandle_test_getNumTopk(handle));
    EXPECT_EQ(8, ncclEpHandle_test_getMaxTokensPerRank(handle));
    EXPECT_EQ(1, ncclEpHandle_test_getNRanksPerNode(handle));
    EXPECT_EQ(8, ncclEpHandle_test_getExpertsPerRank(handle));
    unsigned rows = 0;
    EXPECT_EP(ncclSuccess, ncclEpHandle_test_getNumRecvTokens(handle, &rows));
    EXPECT_EQ(4u, rows);
    EXPECT_NE(nullptr, ncclEpHandle_test_getSparseToDenseMap(handle));
    EXPECT_EP(ncclSuccess, step.dispatch());
    synchronize(rank);
  });
  withStep(one(true, NCCL_EP_LAYOUT_RANK_MAJOR), [](Rank&, ncclEpHandle_t handle, Step& step) {
    unsigned rows = 0;
    EXPECT_EP(ncclInvalidUsage, ncclEpHandle_test_getNumRecvTokens(handle, &rows));
    EXPECT_EP(ncclSuccess, step.dispatch());
  });
  withFailingStep(one(true, NCCL_EP_LAYOUT_RANK_MAJOR), [](Rank& rank, ncclEpHandle_t handle, Step& step) {
    ncclEpHandle_test_clearTopkIdx(handle);
    EXPECT_EP(ncclSuccess, step.dispatch());  // and reads its routing from NULL
    EXPECT_CUDA(cudaErrorIllegalAddress, cudaStreamSynchronize(rank.stream));
  });
}

}  // namespace
}  // namespace ep_test
