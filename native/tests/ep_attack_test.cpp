// H12: in report mode no argument ends the process. Every exported function of CUDA, NCCL and NCCL EP is called with
// addresses that cannot be read or written, are not aligned, end too early, are of something else or of something dead,
// and with numbers out of every range.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "abi/cuda_driver.h"
#include "abi/nccl_ep.h"
#include "nccl4j_emulator.h"
#include "scoped_option.h"

namespace emu::test {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kScratchPages = 16;
constexpr int kRounds = 40;

const char* attacked = "";

void tellAndEnd(int signal) {
  char text[128];
  const int length = std::snprintf(text, sizeof text, "signal %d in %s\n", signal, attacked);
  if (write(STDERR_FILENO, text, static_cast<size_t>(length)) < 0) _exit(3);
  _exit(2);
}

// Pages between two that cannot be touched, so that no overrun meets memory of the program.
unsigned char* guarded(size_t pages, int protection) {
  void* all = mmap(nullptr, (pages + 2) * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) std::abort();
  unsigned char* inner = static_cast<unsigned char*>(all) + kPage;
  if (mprotect(inner, pages * kPage, protection) != 0) std::abort();
  return inner;
}

template <class T, class = void>
struct HasHeader : std::false_type {};
template <class T>
struct HasHeader<T, std::void_t<decltype(std::declval<T>().size), decltype(std::declval<T>().magic)>> : std::true_type {};

// Handles are addresses of structs that nobody outside knows.
template <class T, class = void>
struct IsOpaque : std::true_type {};
template <class T>
struct IsOpaque<T, std::void_t<decltype(sizeof(T))>> : std::false_type {};
template <>
struct IsOpaque<void> : std::false_type {};

class Attacker {
 public:
  explicit Attacker(unsigned seed) : random_(seed) {
    scratch_ = guarded(kScratchPages, PROT_READ | PROT_WRITE);
    std::snprintf(reinterpret_cast<char*>(scratch_), kPage, "/dev/null");
    readOnly_ = guarded(1, PROT_READ);
    none_ = guarded(1, PROT_NONE);
    cudaSetDevice(0);
    make();
  }

  template <class Result, class... Parameters>
  void attack(Result (*function)(Parameters...)) {
    function(draw<Parameters>()...);
  }

  // What an attack may have taken away.
  void make() {
    cudaStream_t stream = nullptr;
    cudaEvent_t event = nullptr;
    cudaGraph_t graph = nullptr;
    cudaGraphNode_t node = nullptr;
    cudaGraphExec_t exec = nullptr;
    cudaMemPool_t pool = nullptr;
    cudaStreamCreate(&stream);
    cudaEventCreate(&event);
    cudaGraphCreate(&graph, 0);
    cudaGraphAddEmptyNode(&node, graph, nullptr, 0);
    cudaGraphInstantiate(&exec, graph, 0);
    cudaDeviceGetDefaultMemPool(&pool, 0);
    void* device = nullptr;
    void* freed = nullptr;
    void* pinned = nullptr;
    void* symmetric = nullptr;
    cudaMalloc(&device, 2 * kPage);
    cudaMalloc(&freed, kPage);
    cudaFree(freed);
    cudaMallocHost(&pinned, kPage);
    ncclMemAlloc(&symmetric, kPage);
    ncclUniqueId id;
    ncclComm_t comm = nullptr;
    ncclComm_t destroyed = nullptr;
    ncclWindow_t window = nullptr;
    ncclEpGroup_t group = nullptr;
    ncclEpHandle_t handle = nullptr;
    ncclEpTensor_t* tensor = nullptr;
    ncclGetUniqueId(&id);
    ncclCommInitRank(&comm, 1, id, 0);
    ncclGetUniqueId(&id);
    ncclCommInitRank(&destroyed, 1, id, 0);
    ncclCommDestroy(destroyed);
    ncclCommWindowRegister(comm, symmetric, kPage, &window, NCCL_WIN_COLL_SYMMETRIC);
    ncclEpGroupConfig_t config;
    std::memset(&config, 0, sizeof config);
    config.size = sizeof config;
    config.magic = NCCL_EP_MAGIC;
    config.version = NCCL_EP_API_VERSION;
    config.num_experts = 4;
    config.max_dispatch_tokens_per_rank = 4;
    config.max_token_bytes = 1024;
    ncclEpCreateGroup(&group, comm, &config);
    ncclEpInitHandle(&handle, group, NCCL_EP_LAYOUT_EXPERT_MAJOR, nullptr, 2, nullptr);
    const size_t sizes[2] = {4, 2};
    ncclEpTensorAlloc(&tensor, 2, ncclInt64, sizes, nullptr);
    pool_ = {nullptr, reinterpret_cast<void*>(1), reinterpret_cast<void*>(UINTPTR_MAX), reinterpret_cast<void*>(UINTPTR_MAX - 7),
             scratch_, scratch_ + 3, scratch_ + kScratchPages * kPage - 1, scratch_ + kScratchPages * kPage - 8, readOnly_, none_,
             none_ - kPage, stream, event, graph, node, exec, pool, device, static_cast<char*>(device) + 1, freed, pinned, symmetric};
    handles_ = pool_;
    handles_.push_back(destroyed);
    for (int live = 0; live < 4; ++live) {
      handles_.insert(handles_.end(), {stream, event, graph, node, exec, comm, window, group, handle});
    }
    tensor_ = tensor;
    ids_ = {id};
  }

 private:
  size_t below(size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random_); }

  template <class T>
  T draw() {
    using Plain = std::remove_cv_t<T>;
    if constexpr (std::is_same_v<Plain, cudaHostFn_t>) {
      return below(2) == 0 ? nullptr : +[](void*) {};
    } else if constexpr (std::is_pointer_v<Plain>) {
      using Pointee = std::remove_cv_t<std::remove_pointer_t<Plain>>;
      if constexpr (HasHeader<Pointee>::value) {
        if (below(2) == 0) return disguised<Pointee>();
      }
      // Not where results are written: to memory of the program, which nothing can tell from what was meant.
      if constexpr (IsOpaque<Pointee>::value) return static_cast<T>(handles_[below(handles_.size())]);
      if constexpr (std::is_same_v<Pointee, ncclEpTensor_t>) {
        if (below(4) == 0) return tensor_;
      }
      return static_cast<T>(pool_[below(pool_.size())]);
    } else if constexpr (std::is_enum_v<Plain>) {
      return static_cast<T>(number<std::underlying_type_t<Plain>>());
    } else if constexpr (std::is_integral_v<Plain>) {
      return number<Plain>();
    } else {
      static_assert(std::is_same_v<Plain, ncclUniqueId>);
      return ids_[0];
    }
  }

  // Often such as lead further.
  template <class Number>
  Number number() {
    static const uint64_t values[] = {0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 7, 8, 64, 512, 4096, 65536, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX};
    return static_cast<Number>(values[below(sizeof values / sizeof values[0])]);
  }

  // A struct whose header is right and whose fields are anything, but for functions, which would be called.
  template <class Struct>
  Struct* disguised() {
    auto* const place = scratch_ + kPage + below(kScratchPages - 2) * kPage;
    uint64_t words[(sizeof(Struct) + 7) / 8];
    for (uint64_t& word : words) {
      word = below(2) == 0 ? reinterpret_cast<uintptr_t>(pool_[below(pool_.size())]) : number<uint64_t>();
    }
    Struct value;
    std::memcpy(&value, words, sizeof value);
    value.size = sizeof value;
    value.magic = NCCL_EP_MAGIC;
    if constexpr (std::is_same_v<Struct, ncclEpTensor_t>) value.magic = NCCL_EP_TENSOR_MAGIC;
    if constexpr (std::is_same_v<Struct, ncclEpGroupConfig_t>) value.alloc = {nullptr, nullptr, nullptr};
    if constexpr (std::is_same_v<Struct, ncclConfig_t> || std::is_same_v<Struct, ncclCommProperties_t>) value.magic = NCCL_API_MAGIC;
    if constexpr (std::is_same_v<Struct, ncclSimInfo_t>) value.magic = NCCL_SIM_INFO_MAGIC;
    std::memcpy(place, &value, sizeof value);
    return reinterpret_cast<Struct*>(place);
  }

  std::mt19937_64 random_;
  unsigned char* scratch_;
  unsigned char* readOnly_;
  unsigned char* none_;
  std::vector<void*> pool_;     // addresses that a call may read or write, or may not
  std::vector<void*> handles_;  // likewise, and more live ones
  ncclEpTensor_t* tensor_ = nullptr;
  std::vector<ncclUniqueId> ids_;
};

struct Target {
  const char* name;
  std::function<void(Attacker&)> attack;
};

#define TARGET(function) {#function, [](Attacker& attacker) { attacker.attack(&function); }}

const std::vector<Target>& targets() {
  static const std::vector<Target> all = {
      TARGET(cudaDeviceCanAccessPeer),
      TARGET(cudaDeviceEnablePeerAccess),
      TARGET(cudaDeviceGetAttribute),
      TARGET(cudaDeviceGetByPCIBusId),
      TARGET(cudaDeviceGetDefaultMemPool),
      TARGET(cudaDeviceGetPCIBusId),
      TARGET(cudaDeviceGetStreamPriorityRange),
      TARGET(cudaDeviceReset),
      TARGET(cudaDeviceSynchronize),
      TARGET(cudaDriverGetVersion),
      TARGET(cudaEventCreate),
      TARGET(cudaEventCreateWithFlags),
      TARGET(cudaEventDestroy),
      TARGET(cudaEventElapsedTime),
      TARGET(cudaEventQuery),
      TARGET(cudaEventRecord),
      TARGET(cudaEventRecordWithFlags),
      TARGET(cudaEventSynchronize),
      TARGET(cudaFree),
      TARGET(cudaFreeAsync),
      TARGET(cudaFreeHost),
      TARGET(cudaFuncGetAttributes),
      TARGET(cudaFuncGetName),
      TARGET(cudaFuncGetParamInfo),
      TARGET(cudaFuncSetAttribute),
      TARGET(cudaGetDevice),
      TARGET(cudaGetDeviceCount),
      TARGET(cudaGetErrorName),
      TARGET(cudaGetErrorString),
      TARGET(cudaGetLastError),
      TARGET(cudaGraphAddChildGraphNode),
      TARGET(cudaGraphAddDependencies),
      TARGET(cudaGraphAddEmptyNode),
      TARGET(cudaGraphClone),
      TARGET(cudaGraphCreate),
      TARGET(cudaGraphDebugDotPrint),
      TARGET(cudaGraphDestroy),
      TARGET(cudaGraphExecDestroy),
      TARGET(cudaGraphExecUpdate),
      TARGET(cudaGraphGetEdges),
      TARGET(cudaGraphGetNodes),
      TARGET(cudaGraphInstantiate),
      TARGET(cudaGraphInstantiateWithFlags),
      TARGET(cudaGraphLaunch),
      TARGET(cudaGraphNodeGetType),
      TARGET(cudaGraphUpload),
      TARGET(cudaHostAlloc),
      TARGET(cudaHostGetDevicePointer),
      TARGET(cudaHostRegister),
      TARGET(cudaHostUnregister),
      TARGET(cudaLaunchHostFunc),
      TARGET(cudaLaunchKernelExC),
      TARGET(cudaLibraryEnumerateKernels),
      TARGET(cudaLibraryGetKernel),
      TARGET(cudaLibraryGetKernelCount),
      TARGET(cudaLibraryLoadData),
      TARGET(cudaLibraryUnload),
      TARGET(cudaMalloc),
      TARGET(cudaMallocAsync),
      TARGET(cudaMallocHost),
      TARGET(cudaMemGetInfo),
      TARGET(cudaMemPoolGetAttribute),
      TARGET(cudaMemPoolSetAttribute),
      TARGET(cudaMemPoolTrimTo),
      TARGET(cudaMemcpy),
      TARGET(cudaMemcpyAsync),
      TARGET(cudaMemcpyPeerAsync),
      TARGET(cudaMemset),
      TARGET(cudaMemsetAsync),
      TARGET(cudaOccupancyMaxActiveBlocksPerMultiprocessor),
      TARGET(cudaPeekAtLastError),
      TARGET(cudaPointerGetAttributes),
      TARGET(cudaProfilerStart),
      TARGET(cudaProfilerStop),
      TARGET(cudaRuntimeGetVersion),
      TARGET(cudaSetDevice),
      TARGET(cudaStreamBeginCapture),
      TARGET(cudaStreamCreate),
      TARGET(cudaStreamCreateWithFlags),
      TARGET(cudaStreamCreateWithPriority),
      TARGET(cudaStreamDestroy),
      TARGET(cudaStreamEndCapture),
      TARGET(cudaStreamGetCaptureInfo),
      TARGET(cudaStreamGetDevice),
      TARGET(cudaStreamGetFlags),
      TARGET(cudaStreamGetId),
      TARGET(cudaStreamGetPriority),
      TARGET(cudaStreamIsCapturing),
      TARGET(cudaStreamQuery),
      TARGET(cudaStreamSynchronize),
      TARGET(cudaStreamWaitEvent),
      TARGET(cudaThreadExchangeStreamCaptureMode),
      TARGET(cuMemAddressFree),
      TARGET(cuMemAddressReserve),
      TARGET(cuMemCreate),
      TARGET(cuMemGetAllocationGranularity),
      TARGET(cuMemMap),
      TARGET(cuMemRelease),
      TARGET(cuMemSetAccess),
      TARGET(cuMemUnmap),
      TARGET(ncclAllGather),
      TARGET(ncclAllReduce),
      TARGET(ncclAlltoAll),
      TARGET(ncclBcast),
      TARGET(ncclBroadcast),
      TARGET(ncclCommAbort),
      TARGET(ncclCommCount),
      TARGET(ncclCommCuDevice),
      TARGET(ncclCommDeregister),
      TARGET(ncclCommDestroy),
      TARGET(ncclCommFinalize),
      TARGET(ncclCommGetAsyncError),
      TARGET(ncclCommGetUniqueId),
      TARGET(ncclCommGrow),
      TARGET(ncclCommInitAll),
      TARGET(ncclCommInitRank),
      TARGET(ncclCommInitRankConfig),
      TARGET(ncclCommInitRankScalable),
      TARGET(ncclCommMemStats),
      TARGET(ncclCommQueryProperties),
      TARGET(ncclCommRegister),
      TARGET(ncclCommResume),
      TARGET(ncclCommRevoke),
      TARGET(ncclCommShrink),
      TARGET(ncclCommSplit),
      TARGET(ncclCommSuspend),
      TARGET(ncclCommUserRank),
      TARGET(ncclCommWindowDeregister),
      TARGET(ncclCommWindowRegister),
      TARGET(ncclGather),
      TARGET(ncclGetErrorString),
      TARGET(ncclGetLastError),
      TARGET(ncclGetLsaDevicePointer),
      TARGET(ncclGetPeerDevicePointer),
      TARGET(ncclGetUniqueId),
      TARGET(ncclGetVersion),
      TARGET(ncclGroupEnd),
      TARGET(ncclGroupSimulateEnd),
      TARGET(ncclGroupStart),
      TARGET(ncclMemAlloc),
      TARGET(ncclMemFree),
      TARGET(ncclPutSignal),
      TARGET(ncclRecv),
      TARGET(ncclRedOpCreatePreMulSum),
      TARGET(ncclRedOpDestroy),
      TARGET(ncclReduce),
      TARGET(ncclReduceScatter),
      TARGET(ncclScatter),
      TARGET(ncclSend),
      TARGET(ncclSignal),
      TARGET(ncclTeamLsa),
      TARGET(ncclTeamRail),
      TARGET(ncclTeamWorld),
      TARGET(ncclWaitSignal),
      TARGET(ncclWinGetUserPtr),
      TARGET(ncclEpCombine),
      TARGET(ncclEpComplete),
      TARGET(ncclEpCreateGroup),
      TARGET(ncclEpCreateHandle),
      TARGET(ncclEpDispatch),
      TARGET(ncclEpErrorClear),
      TARGET(ncclEpGetAsyncError),
      TARGET(ncclEpGetVersion),
      TARGET(ncclEpGroupDestroy),
      TARGET(ncclEpHandleDestroy),
      TARGET(ncclEpHandleMemSize),
      TARGET(ncclEpInitHandle),
      TARGET(ncclEpMaskClean),
      TARGET(ncclEpMaskQuery),
      TARGET(ncclEpMaskUpdate),
      TARGET(ncclEpTensorAlloc),
      TARGET(ncclEpTensorDestroy),
      TARGET(ncclEpUpdateHandle),
  };
  return all;
}

int attackAll(unsigned seed) {
  for (const int number : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL}) signal(number, tellAndEnd);
  std::thread thread([seed] {
    Attacker attacker(seed);
    for (int round = 0; round < kRounds; ++round) {
      for (const Target& target : targets()) {
        attacked = target.name;
        target.attack(attacker);
      }
      attacked = "the making of things to attack";
      ncclGroupStart();
      for (int open = 0; open < 10'000 && ncclGroupEnd() != ncclInvalidUsage; ++open) {
      }
      cudaDeviceReset();
      cudaSetDevice(0);
      cudaDeviceReset();
      attacker.make();
    }
  });
  thread.join();
  return 0;
}

TEST(H12Attack, MeetsEveryExportedFunction) {
  const std::string here = __FILE__;
  std::ifstream file(here.substr(0, here.rfind('/')) + "/../exports.txt");
  ASSERT_TRUE(file) << "exports.txt is not beside the tests";
  std::set<std::string> attackedNames;
  for (const Target& target : targets()) attackedNames.insert(target.name);
  for (std::string name; std::getline(file, name);) {
    if (name.compare(0, 2, "cu") != 0 && (name.compare(0, 4, "nccl") != 0 || name.compare(0, 9, "nccl4jEmu") == 0)) continue;
    EXPECT_EQ(1U, attackedNames.count(name)) << name << " is not attacked";
  }
}

using H12AttackDeathTest = ::testing::Test;

TEST(H12AttackDeathTest, NothingEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const char* const wanted = std::getenv("NCCL4J_ATTACK_SEEDS");
  const unsigned seeds = wanted != nullptr ? static_cast<unsigned>(std::atoi(wanted)) : 3;
  for (unsigned seed = 1; seed <= seeds; ++seed) {
    EXPECT_EXIT(
        {
          nccl4jEmuSetOption("misuse", "report");
          nccl4jEmuSetOption("wait_limit_ms", "5");
          nccl4jEmuSetOption("devices", "4");
          _exit(attackAll(seed));
        },
        ::testing::ExitedWithCode(0), "")
        << "seed " << seed;
  }
}

}  // namespace
}  // namespace emu::test
