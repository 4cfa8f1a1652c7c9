// Sections 1 and 2.1-2.2: version, structs, tensor descriptors. One rank is enough.
#include <array>
#include <cstddef>

#include "ep_round.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

// Where API v2 has them; the structs of 0.1.0 end before the first field that it lacks.
static_assert(sizeof(ncclEpTensor_t) == 48 && offsetof(ncclEpTensor_t, sizes) == 40);
static_assert(sizeof(ncclEpTensorAllocConfig_t) == 8);
static_assert(sizeof(ncclEpGroupConfig_t) == 112 && offsetof(ncclEpGroupConfig_t, rdma_buffer_size) == 32);
static_assert(offsetof(ncclEpGroupConfig_t, alloc) == 56 && offsetof(ncclEpGroupConfig_t, timeout_ns) == 88);
static_assert(offsetof(ncclEpGroupConfig_t, zero_copy) == NCCL_EP_GROUP_CONFIG_V1_SIZE);
static_assert(sizeof(ncclEpLayoutInfo_t) == 48);
static_assert(offsetof(ncclEpLayoutInfo_t, recv_topk_idx_kind) == NCCL_EP_LAYOUT_INFO_V1_SIZE);
static_assert(sizeof(ncclEpDispatchInputs_t) == NCCL_EP_DISPATCH_INPUTS_V1_SIZE);
static_assert(sizeof(ncclEpDispatchOutputs_t) == NCCL_EP_DISPATCH_OUTPUTS_V1_SIZE);
static_assert(sizeof(ncclEpCombineInputs_t) == 32);
static_assert(sizeof(ncclEpCombineOutputs_t) == NCCL_EP_COMBINE_OUTPUTS_V1_SIZE);
static_assert(offsetof(ncclEpCombineInputs_t, scales) == NCCL_EP_COMBINE_INPUTS_V1_SIZE);
static_assert(sizeof(ncclEpHandleConfig_t) == NCCL_EP_HANDLE_CONFIG_V1_SIZE);
static_assert(sizeof(ncclEpCompleteConfig_t) == NCCL_EP_COMPLETE_CONFIG_V1_SIZE);
static_assert(sizeof(ncclEpDispatchConfig_t) == 24 && sizeof(ncclEpCombineConfig_t) == 20);
static_assert(offsetof(ncclEpDispatchConfig_t, quant_recipe) == NCCL_EP_DISPATCH_CONFIG_V1_SIZE);
static_assert(offsetof(ncclEpCombineConfig_t, quant_recipe) == NCCL_EP_COMBINE_CONFIG_V1_SIZE);

TEST(EpAbi, S11Version) {
  int version = 0;
  EXPECT_EP(ncclSuccess, ncclEpGetVersion(&version));
  EXPECT_EQ(100, version);
  EXPECT_EP(ncclInvalidArgument, ncclEpGetVersion(nullptr));
}

TEST(EpAbi, S21TensorAlloc) {
  const size_t sizes[] = {3, 5};
  ncclEpTensor_t* tensor = nullptr;
  EXPECT_EP(ncclInvalidArgument, ncclEpTensorAlloc(nullptr, 2, ncclFloat32, sizes, nullptr));
  EXPECT_EP(ncclInvalidArgument, ncclEpTensorAlloc(&tensor, 2, ncclFloat32, nullptr, nullptr));
  EXPECT_EP(ncclInvalidArgument, ncclEpTensorAlloc(&tensor, 0, ncclFloat32, sizes, nullptr));
  auto config = made<ncclEpTensorAllocConfig_t>();
  config.size = 7;
  EXPECT_EP(ncclInvalidArgument, ncclEpTensorAlloc(&tensor, 2, ncclFloat32, sizes, &config));
  config.size = 4096;  // from a later library: its tail is not read
  EXPECT_EQ(nullptr, tensor);
  EXPECT_EP(ncclSuccess, ncclEpTensorAlloc(&tensor, 2, static_cast<ncclDataType_t>(77), sizes, &config));
  ASSERT_NE(nullptr, tensor);
  EXPECT_EQ(48u, tensor->size);
  EXPECT_EQ(0xBEEFBEEFu, tensor->magic);
  EXPECT_EQ(2u, tensor->ndim);
  EXPECT_EQ(77, static_cast<int>(tensor->datatype));
  EXPECT_NE(sizes, tensor->sizes);
  EXPECT_EQ(5u, tensor->sizes[1]);
  EXPECT_EQ(nullptr, tensor->data);
  EXPECT_EQ(nullptr, tensor->win_hdl);
  EXPECT_EQ(0u, tensor->win_offset);
  EXPECT_EP(ncclSuccess, ncclEpTensorDestroy(tensor));
}

TEST(EpAbi, S22TensorDestroy) {
  size_t sizes[] = {3};
  EXPECT_EP(ncclSuccess, ncclEpTensorDestroy(nullptr));
  ncclEpTensor_t* tensor = nullptr;
  ASSERT_EP(ncclSuccess, ncclEpTensorAlloc(&tensor, 1, ncclFloat32, sizes, nullptr));
  size_t* const own = tensor->sizes;
  tensor->sizes = sizes;
  EXPECT_EP(ncclInvalidArgument, ncclEpTensorDestroy(tensor));
  tensor->sizes = own;
  tensor->magic = NCCL_EP_TENSOR_MAGIC;
  EXPECT_EP(ncclInvalidArgument, ncclEpTensorDestroy(tensor));
  tensor->magic = 12345;
  EXPECT_EP(ncclInvalidArgument, ncclEpTensorDestroy(tensor));
  tensor->magic = 0xBEEFBEEF;
  EXPECT_EP(ncclSuccess, ncclEpTensorDestroy(tensor));
  EXPECT_EP(ncclInvalidArgument, ncclEpTensorDestroy(tensor));  // a second time: recognised, nothing is touched
}

// 1.1: the probe that tells API v2 from API version 1, which does not look at the size and destroys the descriptor.
TEST(EpAbi, S11GenerationProbe) {
  const size_t sizes[] = {1};
  ncclEpTensor_t* tensor = nullptr;
  ASSERT_EP(ncclSuccess, ncclEpTensorAlloc(&tensor, 1, ncclFloat32, sizes, nullptr));
  tensor->size = 8;
  EXPECT_EP(ncclInvalidArgument, ncclEpTensorDestroy(tensor));
  tensor->size = 48;
  EXPECT_EP(ncclSuccess, ncclEpTensorDestroy(tensor));
}

// 1.2: size is looked at before magic; sizes between V1 and V2 and beyond V2 are fine.
TEST(EpAbi, S12StructHeader) {
  asThreads(1, [](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    ncclEpGroupConfig_t config = lowLatency(8, 8, 1024);
    for (const unsigned size : {0u, 8u, 95u}) {
      config.size = size;
      EXPECT_EP(ncclInvalidArgument, ncclEpCreateGroup(&group, rank.comm, &config));
    }
    config.size = 112;
    config.magic = NCCL_EP_TENSOR_MAGIC;
    EXPECT_EP(ncclInvalidArgument, ncclEpCreateGroup(&group, rank.comm, &config));
    EXPECT_EP(ncclInvalidArgument, ncclEpCreateGroup(&group, rank.comm, nullptr));
    EXPECT_EQ(nullptr, group);
    config.magic = NCCL_EP_MAGIC;
    std::array<unsigned char, 4096> later;
    later.fill(0xff);
    std::memcpy(later.data(), &config, sizeof config);
    for (const unsigned size : {96u, 100u, 112u, 4096u}) {
      std::memcpy(later.data(), &size, sizeof size);
      ASSERT_EP(ncclSuccess,
                ncclEpCreateGroup(&group, rank.comm, reinterpret_cast<ncclEpGroupConfig_t*>(later.data())));
      EXPECT_EP(ncclSuccess, ncclEpGroupDestroy(group));
    }
  });
}

// V2 fields beyond a V1 size read as zero.
TEST(EpAbi, S12ShortStructsHaveNoV2Fields) {
  asThreads(1, [](Rank& rank) {
    ncclEpGroupConfig_t config = lowLatency(8, 8, 1024);
    config.num_topk = 999;  // refused where it is seen
    config.size = 96;
    Group group(rank, config);
    Handle handle(group, NCCL_EP_LAYOUT_RANK_MAJOR, 2);
  });
}

class EpMalformed : public testing::Test {
 protected:
  // Runs the body with an LL handle whose routing is set.
  static void withHandle(const std::function<void(Rank&, ncclEpHandle_t)>& body) {
    const Option report("misuse", "report");
    asThreads(1, [&](Rank& rank) {
      Group group(rank, lowLatency(8, 8, 1024));
      Handle handle(group, NCCL_EP_LAYOUT_EXPERT_MAJOR, 2);
      body(rank, handle);
    });
  }
};

// 1.3: descriptors that are none. Every one aborts; nothing is read through a forged cookie.
TEST_F(EpMalformed, S13Tensors) {
  withHandle([](Rank& rank, ncclEpHandle_t handle) {
    Tensor good(ncclInt64, {4, 2});
    const auto refused = [&](const ncclEpTensor_t* tensor) {
      const Misuses misuses;
      EXPECT_EP(ncclInternalError, ncclEpUpdateHandle(handle, tensor, nullptr, rank.stream));
      EXPECT_EQ(NCCL4J_EMU_END_ABORT, misuses.lastEnd()) << misuses.lastText();
    };
    refused(nullptr);
    ncclEpTensor_t bad = *good.get();
    bad.size = 47;
    refused(&bad);
    bad = *good.get();
    bad.magic = 0;
    refused(&bad);
    bad.magic = 0xBEEFBEEF;  // never came from ncclEpTensorAlloc
    refused(&bad);
    bad = *good.get();
    bad.data = nullptr;
    refused(&bad);
    EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, good, nullptr, rank.stream));
    // Larger descriptors of a later library are fine, and empty ones need no storage.
    bad = *good.get();
    bad.size = 64;
    EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, &bad, nullptr, rank.stream));
    auto empty = Tensor::bare(ncclInt32, {0, 2});
    EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, *empty, nullptr, rank.stream));
    // One of ncclEpTensorAlloc serves like any other.
    const size_t sizes[] = {4, 2};
    ncclEpTensor_t* dynamic = nullptr;
    ASSERT_EP(ncclSuccess, ncclEpTensorAlloc(&dynamic, 2, ncclInt64, sizes, nullptr));
    refused(dynamic);
    dynamic->data = good->data;
    EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, dynamic, nullptr, rank.stream));
    EXPECT_EP(ncclSuccess, ncclEpTensorDestroy(dynamic));
    refused(dynamic);
  });
}

// In report mode no pointer ends the process.
TEST_F(EpMalformed, WildPointers) {
  withHandle([](Rank& rank, ncclEpHandle_t handle) {
    Tensor good(ncclInt64, {4, 2});
    const auto wild = [](uintptr_t value) { return reinterpret_cast<void*>(value); };
    for (const uintptr_t value : {uintptr_t{8}, uintptr_t{0x1234567890}, ~uintptr_t{15}}) {
      EXPECT_EP(ncclInternalError,
                ncclEpUpdateHandle(handle, static_cast<ncclEpTensor_t*>(wild(value)), nullptr, rank.stream));
      ncclEpTensor_t bad = *good.get();
      bad.sizes = static_cast<size_t*>(wild(value));
      EXPECT_EP(ncclInternalError, ncclEpUpdateHandle(handle, &bad, nullptr, rank.stream));
      bad = *good.get();
      bad.ndim = 0xffffffff;
      EXPECT_EP(ncclInternalError, ncclEpUpdateHandle(handle, &bad, nullptr, rank.stream));
      EXPECT_EP(ncclInternalError, ncclEpDispatch(handle, static_cast<ncclEpDispatchInputs_t*>(wild(value)), nullptr,
                                                  nullptr, nullptr, nullptr));
      EXPECT_EP(ncclInternalError, ncclEpGetVersion(static_cast<int*>(wild(value))));
      EXPECT_EP(ncclInternalError,
                ncclEpUpdateHandle(static_cast<ncclEpHandle_t>(wild(value)), good, nullptr, rank.stream));
      EXPECT_EP(ncclInternalError, ncclEpHandleDestroy(static_cast<ncclEpHandle_t>(wild(value))));
      EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(static_cast<ncclEpGroup_t>(wild(value))));
      EXPECT_NE(ncclSuccess, ncclEpTensorDestroy(static_cast<ncclEpTensor_t*>(wild(value))));
    }
  });
}

// Destroyed objects are recognised, never read.
TEST_F(EpMalformed, DestroyedObjects) {
  const Option report("misuse", "report");
  asThreads(1, [](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    const ncclEpGroupConfig_t config = lowLatency(8, 8, 1024);
    ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    ncclEpHandle_t handle = nullptr;
    ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, NCCL_EP_LAYOUT_RANK_MAJOR, nullptr, 2, nullptr));
    ASSERT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    Misuses misuses;
    EXPECT_EP(ncclInternalError, ncclEpHandleDestroy(handle));
    EXPECT_EP(ncclInternalError, ncclEpComplete(handle, nullptr, rank.stream));
    ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, NCCL_EP_LAYOUT_RANK_MAJOR, nullptr, 2, nullptr));
    ASSERT_EP(ncclSuccess, ncclEpGroupDestroy(group));
    EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));
    EXPECT_EP(ncclInternalError, ncclEpHandleDestroy(handle));  // 2.4: handles first, then the group
    EXPECT_EP(ncclInternalError, ncclEpMaskQuery(group, nullptr, rank.stream));
    EXPECT_EQ(5u, misuses.since().size());
    for (const auto& record : misuses.since()) EXPECT_EQ(NCCL4J_EMU_END_UNDEFINED, record.end) << record.text;
    const nccl4jEmuUsage_t usage = nccl_test::usage();
    EXPECT_EQ(0u, usage.groups);
    EXPECT_EQ(0u, usage.handles);
  });
}

}  // namespace
}  // namespace ep_test
