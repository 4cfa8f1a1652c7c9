// Windows, registrations, operators, and handles that are not what they should be.
#include <cstring>

#include "nccl/communicator.h"
#include "nccl_harness.h"

namespace nccl_test {
namespace {

constexpr size_t kPage = NCCL_WIN_REQUIRED_ALIGNMENT;

void* allocate(size_t bytes) {
  void* pointer = nullptr;
  EXPECT_NCCL(ncclSuccess, ncclMemAlloc(&pointer, bytes));
  EXPECT_NE(nullptr, pointer);
  return pointer;
}

// ---- library ----

TEST(NcclLibrary, Version) {
  int version = 0;
  EXPECT_NCCL(ncclSuccess, ncclGetVersion(&version));
  EXPECT_EQ(23007, version);
  EXPECT_NCCL(ncclInvalidArgument, ncclGetVersion(nullptr));
}

TEST(NcclLibrary, ErrorTexts) {
  std::vector<std::string> texts;
  for (unsigned int code = 0; code <= ncclNumResults; ++code) {
    texts.emplace_back(ncclGetErrorString(static_cast<ncclResult_t>(code)));
    EXPECT_FALSE(texts.back().empty());
    for (size_t i = 0; i + 1 < texts.size(); ++i) EXPECT_NE(texts[i], texts.back());
  }
  EXPECT_STREQ(ncclGetErrorString(static_cast<ncclResult_t>(77)), ncclGetErrorString(static_cast<ncclResult_t>(99)));
}

TEST(NcclLibrary, Layouts) {
  // What a program compiled against NCCL 2.30.7 passes.
  static_assert(sizeof(ncclUniqueId) == 128 && sizeof(ncclDataType_t) == 4 && sizeof(ncclRedOp_t) == 4);
  static_assert(sizeof(ncclResult_t) == 4);
  static_assert(offsetof(ncclConfig_t, magic) == 8 && offsetof(ncclConfig_t, blocking) == 16);
  static_assert(offsetof(ncclConfig_t, netName) == 32 && offsetof(ncclConfig_t, splitShare) == 40);
  static_assert(offsetof(ncclConfig_t, commName) == 48 && offsetof(ncclConfig_t, collnetEnable) == 56);
  static_assert(offsetof(ncclConfig_t, graphStreamOrdering) == 92 && sizeof(ncclConfig_t) == 96);
  static_assert(offsetof(ncclSimInfo_t, estimatedTime) == 16 && sizeof(ncclSimInfo_t) == 24);
  static_assert(sizeof(ncclWaitSignalDesc_t) == 16);
  SUCCEED();
}

// ---- memory ----

TEST(NcclMemory, AllocatesAndFrees) {
  ASSERT_CUDA(cudaSuccess, cudaSetDevice(3));
  const uint64_t before = usage().device_allocations;
  void* pointer = allocate(10'000);
  EXPECT_EQ(before + 1, usage().device_allocations);
  cudaPointerAttributes attributes;
  EXPECT_CUDA(cudaSuccess, cudaPointerGetAttributes(&attributes, pointer));
  EXPECT_EQ(3, attributes.device);
  EXPECT_NCCL(ncclSuccess, ncclMemFree(pointer));
  EXPECT_EQ(before, usage().device_allocations);
  EXPECT_NCCL(ncclUnhandledCudaError, ncclMemFree(pointer)) << "twice";
  EXPECT_NCCL(ncclSuccess, ncclMemFree(nullptr));
  EXPECT_NCCL(ncclUnhandledCudaError, ncclMemAlloc(nullptr, 1));
  pointer = &pointer;
  EXPECT_NCCL(ncclSuccess, ncclMemAlloc(&pointer, 0));
  EXPECT_EQ(nullptr, pointer);
  // More than any device has.
  EXPECT_NCCL(ncclUnhandledCudaError, ncclMemAlloc(&pointer, size_t{1} << 60));
  // Memory of cudaMalloc is freed, too.
  ASSERT_CUDA(cudaSuccess, cudaMalloc(&pointer, 64));
  EXPECT_NCCL(ncclSuccess, ncclMemFree(pointer));
  EXPECT_CUDA(cudaSuccess, cudaSetDevice(0));
}

TEST(NcclMemory, Registrations) {
  asThreads(2, [](Rank& self) {
    void* memory = allocate(4 * kPage);
    void* handles[2] = {};
    EXPECT_NCCL(ncclSuccess, ncclCommRegister(self.comm, memory, 4 * kPage, &handles[0]));
    EXPECT_NCCL(ncclSuccess, ncclCommRegister(self.comm, memory, 100, &handles[1]));
    EXPECT_NE(nullptr, handles[0]);
    EXPECT_NE(handles[0], handles[1]);
    void* none = nullptr;
    EXPECT_NCCL(ncclInvalidArgument, ncclCommRegister(self.comm, memory, 4 * kPage + 1, &none));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommRegister(self.comm, nullptr, 1, &none));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommRegister(self.comm, memory, 1, nullptr));
    EXPECT_NCCL(ncclSuccess, ncclCommDeregister(self.comm, handles[0]));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommDeregister(self.comm, handles[0]));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommDeregister(self.comm, memory));
    EXPECT_NCCL(ncclSuccess, ncclCommDeregister(self.comm, handles[1]));
    EXPECT_NCCL(ncclSuccess, ncclMemFree(memory));
  });
}

// ---- windows ----

// N6: registering is collective with default flags, too, and the window reaches the peers.
TEST(N6Windows, AreNumberedAlike) {
  const uint64_t before = usage().windows;
  asThreads(3, [](Rank& self) {
    void* memory = allocate(8 * kPage);
    auto* bytes = static_cast<unsigned char*>(memory);
    ncclWindow_t first = nullptr;
    ncclWindow_t plain = nullptr;
    ncclWindow_t second = nullptr;
    ASSERT_NCCL(ncclSuccess, ncclCommWindowRegister(self.comm, memory, 4 * kPage, &first, NCCL_WIN_COLL_SYMMETRIC));
    ASSERT_NCCL(ncclSuccess, ncclCommWindowRegister(self.comm, memory, kPage, &plain, NCCL_WIN_DEFAULT));
    ASSERT_NCCL(ncclSuccess, ncclCommWindowRegister(self.comm, bytes + 4 * kPage, 4 * kPage, &second,
                                                    NCCL_WIN_COLL_SYMMETRIC | NCCL_WIN_STRICT_ORDERING));
    ASSERT_NE(nullptr, first);
    ASSERT_NE(nullptr, second);
    EXPECT_EQ(0u, emu::window(self.comm, first)->ordinal);
    EXPECT_EQ(1u, emu::window(self.comm, plain)->ordinal);
    EXPECT_EQ(2u, emu::window(self.comm, second)->ordinal);
    EXPECT_EQ(4 * kPage, emu::window(self.comm, second)->bytes);
    EXPECT_EQ(self.comm, emu::window(self.comm, second)->comm);
    void* base = nullptr;
    EXPECT_NCCL(ncclSuccess, ncclWinGetUserPtr(self.comm, second, &base));
    EXPECT_EQ(bytes + 4 * kPage, base);
    EXPECT_NCCL(ncclSuccess, ncclCommWindowDeregister(self.comm, first));
    EXPECT_EQ(nullptr, emu::window(self.comm, first));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommWindowDeregister(self.comm, first)) << "twice";
    EXPECT_NCCL(ncclInvalidArgument, ncclWinGetUserPtr(self.comm, first, &base));
    EXPECT_NCCL(ncclInvalidArgument, ncclWinGetUserPtr(self.comm, second, nullptr));
    EXPECT_NCCL(ncclSuccess, ncclCommWindowDeregister(self.comm, nullptr));
    EXPECT_NCCL(ncclSuccess, ncclCommWindowDeregister(self.comm, second));
    EXPECT_NCCL(ncclSuccess, ncclCommWindowDeregister(self.comm, plain));
    EXPECT_NCCL(ncclSuccess, ncclMemFree(memory));
  });
  EXPECT_EQ(before, usage().windows);
}

TEST(NcclWindows, EndWithTheirCommunicator) {
  const uint64_t before = usage().windows;
  asThreads(2, [](Rank& self) {
    void* memory = allocate(kPage);
    ncclWindow_t window = nullptr;
    ASSERT_NCCL(ncclSuccess, ncclCommWindowRegister(self.comm, memory, kPage, &window, NCCL_WIN_COLL_SYMMETRIC));
    EXPECT_NCCL(ncclSuccess, ncclCommDestroy(self.comm));
    EXPECT_EQ(nullptr, emu::window(self.comm, window));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommWindowDeregister(self.comm, window));
    self.comm = nullptr;
    EXPECT_NCCL(ncclSuccess, ncclMemFree(memory));
  });
  EXPECT_EQ(before, usage().windows);
}

TEST(NcclWindows, BelongToOneCommunicator) {
  asThreads(1, [](Rank& self) {
    void* memory = allocate(kPage);
    ncclWindow_t window = nullptr;
    ncclComm_t other = nullptr;
    ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&other, 1, makeId(), 0));
    ASSERT_NCCL(ncclSuccess, ncclCommWindowRegister(self.comm, memory, kPage, &window, NCCL_WIN_COLL_SYMMETRIC));
    void* base = nullptr;
    EXPECT_NCCL(ncclInvalidArgument, ncclWinGetUserPtr(other, window, &base));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommWindowDeregister(other, window));
    EXPECT_NCCL(ncclSuccess, ncclCommWindowDeregister(self.comm, window));
    EXPECT_NCCL(ncclSuccess, ncclCommDestroy(other));
    EXPECT_NCCL(ncclSuccess, ncclMemFree(memory));
  });
}

TEST(NcclWindows, BadArguments) {
  asThreads(1, [](Rank& self) {
    auto* memory = static_cast<unsigned char*>(allocate(2 * kPage));
    ncclWindow_t window = nullptr;
    const auto expect = [&](ncclResult_t expected, void* base, size_t bytes, int flags) {
      EXPECT_NCCL(expected, ncclCommWindowRegister(self.comm, base, bytes, &window, flags)) << bytes << " " << flags;
      EXPECT_EQ(nullptr, window);
    };
    expect(ncclInvalidArgument, nullptr, kPage, NCCL_WIN_COLL_SYMMETRIC);
    expect(ncclInvalidArgument, memory, 0, NCCL_WIN_COLL_SYMMETRIC);
    expect(ncclInvalidArgument, memory, kPage, 4);
    expect(ncclInvalidArgument, memory + 16, kPage, NCCL_WIN_COLL_SYMMETRIC);
    expect(ncclInvalidArgument, memory, 2 * kPage + 1, NCCL_WIN_COLL_SYMMETRIC);
    expect(ncclInvalidArgument, memory, 2 * kPage + 1, NCCL_WIN_DEFAULT);
    EXPECT_NCCL(ncclInvalidArgument, ncclCommWindowRegister(self.comm, memory, kPage, nullptr, NCCL_WIN_COLL_SYMMETRIC));
    EXPECT_NCCL(ncclSuccess, ncclMemFree(memory));
    expect(ncclInvalidArgument, memory, kPage, NCCL_WIN_COLL_SYMMETRIC);
    void* ordinary = nullptr;
    ASSERT_CUDA(cudaSuccess, cudaMalloc(&ordinary, 2 * kPage));
    void* aligned = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(ordinary) + kPage - 1) / kPage * kPage);
    expect(ncclUnhandledCudaError, aligned, kPage, NCCL_WIN_COLL_SYMMETRIC);
    EXPECT_CUDA(cudaSuccess, cudaFree(ordinary));
  });
}

TEST(NcclWindows, PartsThatDiffer) {
  asThreads(2, [](Rank& self) {
    void* memory = allocate(2 * kPage);
    ncclWindow_t window = nullptr;
    const size_t bytes = self.rank == 0 ? kPage : 2 * kPage;
    EXPECT_NCCL(ncclInvalidArgument, ncclCommWindowRegister(self.comm, memory, bytes, &window, NCCL_WIN_COLL_SYMMETRIC));
    // One rank's part is bad: it learns why, the other that it was not alone.
    void* base = self.rank == 0 ? memory : static_cast<void*>(nullptr);
    ncclWindow_t dummy = nullptr;
    if (self.rank == 1) {
      ASSERT_CUDA(cudaSuccess, cudaMalloc(&base, 4 * kPage));
      base = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(base) + kPage - 1) / kPage * kPage);
    }
    EXPECT_NCCL(self.rank == 0 ? ncclRemoteError : ncclUnhandledCudaError,
                ncclCommWindowRegister(self.comm, base, kPage, &dummy, NCCL_WIN_COLL_SYMMETRIC));
    // The communicator is none the worse for it.
    EXPECT_NCCL(ncclSuccess, ncclCommWindowRegister(self.comm, memory, kPage, &window, NCCL_WIN_COLL_SYMMETRIC));
    EXPECT_NCCL(ncclSuccess, ncclCommWindowDeregister(self.comm, window));
    EXPECT_NCCL(ncclSuccess, ncclMemFree(memory));
  });
}

TEST(NcclWindows, RegisteredInAGroup) {
  ncclComm_t comms[2] = {};
  ASSERT_NCCL(ncclSuccess, ncclCommInitAll(comms, 2, nullptr));
  ncclWindow_t windows[2] = {};
  void* memory[2];
  for (int i = 0; i < 2; ++i) {
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(i));
    memory[i] = allocate(kPage);
  }
  EXPECT_NCCL(ncclSuccess, ncclGroupStart());
  for (int i = 0; i < 2; ++i) {
    EXPECT_NCCL(ncclSuccess, ncclCommWindowRegister(comms[i], memory[i], kPage, &windows[i], NCCL_WIN_COLL_SYMMETRIC));
  }
  EXPECT_NCCL(ncclSuccess, ncclGroupEnd());
  for (int i = 0; i < 2; ++i) {
    EXPECT_NE(nullptr, windows[i]);
    EXPECT_NCCL(ncclSuccess, ncclCommWindowDeregister(comms[i], windows[i]));
    EXPECT_NCCL(ncclSuccess, ncclCommDestroy(comms[i]));
    EXPECT_NCCL(ncclSuccess, ncclMemFree(memory[i]));
  }
}

// ---- handles ----

// Every function that takes a communicator, with one that is none.
void expectRefusedEverywhere(ncclComm_t bad) {
  int number = 0;
  int data[8] = {};
  void* pointer = nullptr;
  uint64_t value = 0;
  ncclResult_t state = ncclSuccess;
  ncclComm_t other = nullptr;
  ncclWindow_t window = nullptr;
  ncclUniqueId id;
  ncclRedOp_t op = ncclSum;
  ncclWaitSignalDesc_t signal = {1, 0, 0, 0};
  const bool null = bad == nullptr;
#define REFUSED(call) EXPECT_EQ(static_cast<int>(ncclInvalidArgument), static_cast<int>(call)) << #call
  REFUSED(ncclCommCount(bad, &number));
  REFUSED(ncclCommCuDevice(bad, &number));
  REFUSED(ncclCommUserRank(bad, &number));
  REFUSED(ncclCommGetAsyncError(bad, &state));
  REFUSED(ncclCommSplit(bad, 0, 0, &other, nullptr));
  REFUSED(ncclCommRegister(bad, data, sizeof data, &pointer));
  REFUSED(ncclCommDeregister(bad, data));
  REFUSED(ncclCommWindowRegister(bad, data, sizeof data, &window, 0));
  REFUSED(ncclCommWindowDeregister(bad, window));
  REFUSED(ncclWinGetUserPtr(bad, window, &pointer));
  REFUSED(ncclRedOpCreatePreMulSum(&op, data, ncclInt32, ncclScalarHostImmediate, bad));
  REFUSED(ncclRedOpDestroy(op, bad));
  REFUSED(ncclCommMemStats(bad, ncclStatGpuMemTotal, &value));
  REFUSED(ncclCommSuspend(bad, NCCL_SUSPEND_MEM));
  REFUSED(ncclCommResume(bad));
  REFUSED(ncclAllGather(data, data, 1, ncclInt32, bad, nullptr));
  REFUSED(ncclAllReduce(data, data, 1, ncclInt32, ncclSum, bad, nullptr));
  REFUSED(ncclAlltoAll(data, data, 1, ncclInt32, bad, nullptr));
  REFUSED(ncclBcast(data, 1, ncclInt32, 0, bad, nullptr));
  REFUSED(ncclBroadcast(data, data, 1, ncclInt32, 0, bad, nullptr));
  REFUSED(ncclGather(data, data, 1, ncclInt32, 0, bad, nullptr));
  REFUSED(ncclReduce(data, data, 1, ncclInt32, ncclSum, 0, bad, nullptr));
  REFUSED(ncclReduceScatter(data, data, 1, ncclInt32, ncclSum, bad, nullptr));
  REFUSED(ncclScatter(data, data, 1, ncclInt32, 0, bad, nullptr));
  REFUSED(ncclSend(data, 1, ncclInt32, 0, bad, nullptr));
  REFUSED(ncclRecv(data, 1, ncclInt32, 0, bad, nullptr));
  if (!null) {
    REFUSED(ncclCommFinalize(bad));
    REFUSED(ncclCommDestroy(bad));
    REFUSED(ncclCommAbort(bad));
    REFUSED(ncclCommRevoke(bad, 0));
    REFUSED(ncclCommShrink(bad, data, 1, &other, nullptr, 0));
    REFUSED(ncclCommGetUniqueId(bad, &id));
    REFUSED(ncclCommGrow(bad, 4, &id, -1, &other, nullptr));
    REFUSED(ncclPutSignal(data, 1, ncclInt32, 0, window, 0, 0, 0, 0, bad, nullptr));
    REFUSED(ncclSignal(0, 0, 0, 0, bad, nullptr));
    REFUSED(ncclWaitSignal(1, &signal, bad, nullptr));
  }
#undef REFUSED
  EXPECT_NE(nullptr, ncclGetLastError(bad));
  EXPECT_EQ(nullptr, emu::communicator(bad));
  EXPECT_EQ(nullptr, emu::window(bad, window));
}

TEST(NcclHandles, Null) {
  expectRefusedEverywhere(nullptr);
  EXPECT_NCCL(ncclSuccess, ncclCommFinalize(nullptr));
  EXPECT_NCCL(ncclSuccess, ncclCommDestroy(nullptr));
  EXPECT_NCCL(ncclSuccess, ncclCommAbort(nullptr));
}

TEST(NcclHandles, Forged) {
  alignas(64) unsigned char fake[1024];
  memset(fake, 0x5a, sizeof fake);
  expectRefusedEverywhere(reinterpret_cast<ncclComm_t>(fake));
  expectRefusedEverywhere(reinterpret_cast<ncclComm_t>(uintptr_t{0x10}));
  expectRefusedEverywhere(reinterpret_cast<ncclComm_t>(~uintptr_t{0}));
}

TEST(NcclHandles, Destroyed) {
  ncclComm_t gone[4];
  for (ncclComm_t& comm : gone) {
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(0));
    ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&comm, 1, makeId(), 0));
    EXPECT_NCCL(ncclSuccess, ncclCommDestroy(comm));
  }
  // A newer communicator is not mistaken for an older one.
  ncclComm_t live = nullptr;
  ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&live, 1, makeId(), 0));
  for (ncclComm_t comm : gone) expectRefusedEverywhere(comm);
  EXPECT_NCCL(ncclSuccess, ncclCommDestroy(live));
}

TEST(NcclHandles, Finalized) {
  asThreads(2, [](Rank& self) {
    Buffer<int> value(std::vector<int>{1});
    EXPECT_NCCL(ncclSuccess, ncclAllReduce(value.data(), value.data(), 1, ncclInt32, ncclSum, self.comm, self.stream));
    EXPECT_NCCL(ncclSuccess, ncclCommFinalize(self.comm));
    EXPECT_EQ(2, *value.data()) << "finalize waits for the work; emulated memory can be looked at without waiting";
    EXPECT_NCCL(ncclInvalidArgument, ncclBcast(value.data(), 1, ncclInt32, 0, self.comm, self.stream));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommFinalize(self.comm));
    int count = 0;
    EXPECT_NCCL(ncclSuccess, ncclCommCount(self.comm, &count));
  });
}

TEST(NcclHandles, Suspended) {
  asThreads(1, [](Rank& self) {
    Buffer<int> value(1);
    uint64_t suspended = 7;
    EXPECT_NCCL(ncclInvalidUsage, ncclCommResume(self.comm));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommSuspend(self.comm, 2));
    EXPECT_NCCL(ncclSuccess, ncclCommMemStats(self.comm, ncclStatGpuMemSuspended, &suspended));
    EXPECT_EQ(0u, suspended);
    EXPECT_NCCL(ncclSuccess, ncclCommSuspend(self.comm, NCCL_SUSPEND_MEM));
    EXPECT_NCCL(ncclSuccess, ncclCommMemStats(self.comm, ncclStatGpuMemSuspended, &suspended));
    EXPECT_EQ(1u, suspended);
    EXPECT_NCCL(ncclInvalidUsage, ncclBcast(value.data(), 1, ncclInt32, 0, self.comm, self.stream));
    EXPECT_NCCL(ncclSuccess, ncclCommResume(self.comm));
    EXPECT_NCCL(ncclSuccess, ncclBcast(value.data(), 1, ncclInt32, 0, self.comm, self.stream));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommMemStats(self.comm, static_cast<ncclCommMemStat_t>(4), &suspended));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommMemStats(self.comm, ncclStatGpuMemTotal, nullptr));
  });
}

TEST(NcclHandles, WhatTheEmulatorHasNot) {
  asThreads(1, [](Rank& self) {
    int excluded = 0;
    ncclComm_t other = nullptr;
    ncclUniqueId id;
    ncclWaitSignalDesc_t signal = {1, 0, 0, 0};
    const auto expectAbsent = [](ncclResult_t result, const char* name) {
      EXPECT_EQ(ncclInvalidUsage, result);
      EXPECT_EQ(std::string("the emulator has no ") + name, ncclGetLastError(nullptr));
    };
    expectAbsent(ncclCommRevoke(self.comm, 0), "ncclCommRevoke");
    expectAbsent(ncclCommShrink(self.comm, &excluded, 1, &other, nullptr, 0), "ncclCommShrink");
    expectAbsent(ncclCommGetUniqueId(self.comm, &id), "ncclCommGetUniqueId");
    expectAbsent(ncclCommGrow(self.comm, 2, &id, -1, &other, nullptr), "ncclCommGrow");
    expectAbsent(ncclPutSignal(&excluded, 1, ncclInt32, 0, nullptr, 0, 0, 0, 0, self.comm, self.stream), "ncclPutSignal");
    expectAbsent(ncclSignal(0, 0, 0, 0, self.comm, self.stream), "ncclSignal");
    expectAbsent(ncclWaitSignal(1, &signal, self.comm, self.stream), "ncclWaitSignal");
  });
}

// ---- arguments of operations ----

TEST(NcclArguments, OfOperations) {
  asThreads(1, [](Rank& self) {
    Buffer<int> value(4);
    int* v = value.data();
    EXPECT_NCCL(ncclInvalidArgument, ncclBcast(v, 1, ncclInt32, 1, self.comm, self.stream));
    EXPECT_NCCL(ncclInvalidArgument, ncclBcast(v, 1, ncclInt32, -1, self.comm, self.stream));
    EXPECT_NCCL(ncclInvalidArgument, ncclRecv(v, 1, ncclInt32, 1, self.comm, self.stream));
    EXPECT_NCCL(ncclInvalidArgument, ncclAllGather(v, v, 1, static_cast<ncclDataType_t>(12), self.comm, self.stream));
    EXPECT_NCCL(ncclInvalidArgument, ncclAllGather(v, v, 1, static_cast<ncclDataType_t>(0xffffffff), self.comm, self.stream));
    EXPECT_NCCL(ncclInvalidArgument, ncclAllGather(v, v, SIZE_MAX / 2, ncclInt32, self.comm, self.stream));
    EXPECT_NCCL(ncclInvalidArgument, ncclAllReduce(v, v, 1, ncclInt32, ncclNumOps, self.comm, self.stream));
    EXPECT_NCCL(ncclInvalidArgument, ncclAllReduce(v, v, 1, ncclInt32, ncclMaxRedOp, self.comm, self.stream));
    EXPECT_NCCL(ncclInvalidArgument, ncclRedOpDestroy(ncclSum, self.comm));
    ncclRedOp_t op = ncclSum;
    float factor = 2;
    EXPECT_NCCL(ncclInvalidArgument, ncclRedOpCreatePreMulSum(nullptr, &factor, ncclFloat32, ncclScalarHostImmediate, self.comm));
    EXPECT_NCCL(ncclInvalidArgument, ncclRedOpCreatePreMulSum(&op, nullptr, ncclFloat32, ncclScalarHostImmediate, self.comm));
    EXPECT_NCCL(ncclInvalidArgument,
                ncclRedOpCreatePreMulSum(&op, &factor, static_cast<ncclDataType_t>(99), ncclScalarHostImmediate, self.comm));
    EXPECT_NCCL(ncclInvalidArgument,
                ncclRedOpCreatePreMulSum(&op, &factor, ncclFloat32, static_cast<ncclScalarResidence_t>(2), self.comm));
    ASSERT_NCCL(ncclSuccess, ncclRedOpCreatePreMulSum(&op, &factor, ncclFloat32, ncclScalarHostImmediate, self.comm));
    EXPECT_NCCL(ncclInvalidArgument, ncclAllReduce(v, v, 1, ncclInt32, op, self.comm, self.stream)) << "another data type";
    // An operator may go as soon as the call that uses it has returned.
    Buffer<float> number(std::vector<float>{3});
    EXPECT_NCCL(ncclSuccess, ncclAllReduce(number.data(), number.data(), 1, ncclFloat32, op, self.comm, self.stream));
    EXPECT_NCCL(ncclSuccess, ncclRedOpDestroy(op, self.comm));
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    EXPECT_EQ(6.0f, number.read()[0]);
    const auto noStream = reinterpret_cast<cudaStream_t>(uintptr_t{0x1230});
    EXPECT_NCCL(ncclUnhandledCudaError, ncclBcast(v, 1, ncclInt32, 0, self.comm, noStream));
  });
}

// ---- call log ----

TEST(NcclCalls, AreLoggedAndPreset) {
  ASSERT_EQ(0, nccl4jEmuCallLog(64));
  const uint64_t calls = nccl4jEmuCallCount("ncclAllReduce");
  asThreads(1, [](Rank& self) {
    Buffer<int> value(1);
    EXPECT_NCCL(ncclSuccess, ncclAllReduce(value.data(), value.data(), 1, ncclInt32, ncclMax, self.comm, self.stream));
    ASSERT_EQ(0, nccl4jEmuPresetResult("ncclAllReduce", ncclRemoteError, 0, 1));
    EXPECT_NCCL(ncclRemoteError, ncclAllReduce(value.data(), value.data(), 1, ncclInt32, ncclMax, self.comm, self.stream));
    EXPECT_NCCL(ncclSuccess, ncclAllReduce(value.data(), value.data(), 1, ncclInt32, ncclMax, self.comm, self.stream));
  });
  EXPECT_EQ(calls + 3, nccl4jEmuCallCount("ncclAllReduce"));
  std::vector<nccl4jEmuCall_t> log(64);
  log.resize(nccl4jEmuCalls(1, log.data(), log.size()));
  EXPECT_EQ(0, nccl4jEmuCallLog(0));
  std::vector<int> results;
  for (const nccl4jEmuCall_t& call : log) {
    if (std::string(call.function) != "ncclAllReduce") continue;
    results.push_back(call.result);
    EXPECT_NE(std::string::npos, std::string(call.arguments).find("count=1 datatype=int32 op=max comm=0x")) << call.arguments;
    EXPECT_EQ(call.result == ncclSuccess ? 0 : -1, call.rank);
  }
  EXPECT_EQ((std::vector<int>{0, ncclRemoteError, 0}), results);
}

}  // namespace
}  // namespace nccl_test
