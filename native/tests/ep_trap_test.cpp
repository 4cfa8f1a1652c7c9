// What is found only when the work runs, and then fails the device.
#include "ep_step.h"

namespace ep_test {
namespace {

// 5.10, C7: a combine whose input has fewer rows than slots are in use.
TEST(EpTrap, C7TooFewCombineRows) {
  for (const ncclEpLayout_t layout : {NCCL_EP_LAYOUT_FLAT, NCCL_EP_LAYOUT_EXPERT_MAJOR}) {
    withFailingStep(one(false, layout), [](Rank& rank, ncclEpHandle_t, Step& step) {
      Tensor few(ncclBfloat16, {3, 512});
      step.back.tokens = few;
      EXPECT_EP(ncclSuccess, step.combine());
      EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(rank.stream));
    });
  }
}

// 5.9: a peer is addressed with the sender's window and offset, so all ranks must use the same.
TEST(EpTrap, S59WindowsMustMatch) {
  Case facts = one(false, NCCL_EP_LAYOUT_FLAT);
  facts.ranks = 2;
  withFailingStep(facts, [](Rank& rank, ncclEpHandle_t, Step& step) {
    void* memory = nullptr;
    ncclWindow_t window = nullptr;
    ASSERT_NCCL(ncclSuccess, ncclMemAlloc(&memory, 1 << 20));
    ASSERT_NCCL(ncclSuccess, ncclCommWindowRegister(rank.comm, memory, 1 << 20, &window, NCCL_WIN_COLL_SYMMETRIC));
    auto out = Tensor::bare(ncclBfloat16, {32, 512});
    (*out)->win_hdl = window;
    (*out)->win_offset = rank.rank == 0 ? 0 : 4096;
    step.outputs.tokens = *out;
    EXPECT_EP(ncclSuccess, step.dispatch());
    EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(rank.stream));
    char text[1024];
    EXPECT_EQ(0, nccl4jEmuErrorText(rank.rank, text, sizeof text));
    EXPECT_NE(nullptr, std::strstr(text, "registration order or offset")) << text;
  });
}

// 1.6: recv_topk_idx_kind beyond GLOBAL.
TEST(EpTrap, S16UnknownIdKind) {
  for (const bool ll : {true, false}) {
    withFailingStep(one(ll, ll ? NCCL_EP_LAYOUT_RANK_MAJOR : NCCL_EP_LAYOUT_FLAT),
                    [](Rank& rank, ncclEpHandle_t, Step& step) {
                      step.info.recv_topk_idx_kind = static_cast<ncclEpExpertIdKind_t>(3);
                      EXPECT_EP(ncclSuccess, step.dispatch());
                      EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(rank.stream));
                    });
  }
}

// 4.7: two operations of a group that nothing orders.
TEST(EpTrap, S47UnorderedOperations) {
  withFailingStep(one(true, NCCL_EP_LAYOUT_RANK_MAJOR), [](Rank&, ncclEpHandle_t handle, Step& step) {
    cudaStream_t other = nullptr;
    ASSERT_CUDA(cudaSuccess, cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    EXPECT_EQ(0, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_DELAY, 0, 1, 500));
    EXPECT_EP(ncclSuccess, step.dispatch());
    EXPECT_EP(ncclSuccess, ncclEpDispatch(handle, &step.inputs, &step.outputs, &step.info, nullptr, other));
    EXPECT_CUDA(cudaErrorLaunchFailure, cudaDeviceSynchronize());
  });
  EXPECT_EQ(0, nccl4jEmuClearFaults());
}

// 5.10: LocalDup adds up to 8 experts of a token on a rank.
TEST(EpTrap, S510NineExpertsOfATokenInLocalDup) {
  const EnvironmentVariable variable("NCCL_EP_HT_EM_LOCAL_DUP", "1");
  Case facts = one(false, NCCL_EP_LAYOUT_EXPERT_MAJOR);
  facts.experts = 16;
  facts.topk = 9;
  facts.maxTokens = 4;
  facts.maxReceive = 36;
  withFailingStep(facts, [](Rank& rank, ncclEpHandle_t, Step& step) {
    EXPECT_EP(ncclSuccess, step.dispatch());
    EXPECT_EP(ncclSuccess, step.combine());
    EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(rank.stream));
  });
}

// C13: LL resolves windows of dispatch outputs only; any other descriptor without data is read at NULL.
TEST(EpTrap, C13WindowOnlyDescriptors) {
  for (const bool combine : {false, true}) {
    withFailingStep(one(true, NCCL_EP_LAYOUT_RANK_MAJOR), [&](Rank& rank, ncclEpHandle_t, Step& step) {
      void* memory = nullptr;
      ncclWindow_t window = nullptr;
      ASSERT_NCCL(ncclSuccess, ncclMemAlloc(&memory, 1 << 20));
      ASSERT_NCCL(ncclSuccess, ncclCommWindowRegister(rank.comm, memory, 1 << 20, &window, NCCL_WIN_COLL_SYMMETRIC));
      auto out = Tensor::bare(ncclBfloat16, {1, 8, 512}), in = Tensor::bare(ncclBfloat16, {4, 512});
      (*out)->win_hdl = window;
      (*in)->win_hdl = window;
      step.outputs.tokens = *out;
      EXPECT_EP(ncclSuccess, step.dispatch());
      synchronize(rank);
      if (combine) {
        step.back.tokens = *out;
        EXPECT_EP(ncclSuccess, step.combine());
      } else {
        step.inputs.tokens = *in;
        EXPECT_EP(ncclSuccess, step.dispatch());
      }
      EXPECT_CUDA(cudaErrorIllegalAddress, cudaStreamSynchronize(rank.stream));
    });
  }
}

}  // namespace
}  // namespace ep_test
