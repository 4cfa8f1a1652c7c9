#include "nccl_failure_support.h"

#include <thread>

namespace nccl_test {

void asFailingRank(const ncclUniqueId& id, int size, int rank, const std::function<void(Rank&)>& body) {
  Rank self;
  self.rank = rank;
  self.size = size;
  ASSERT_CUDA(cudaSuccess, cudaSetDevice(rank));
  ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&self.comm, size, id, rank));
  ASSERT_CUDA(cudaSuccess, cudaStreamCreate(&self.stream));
  body(self);
  EXPECT_NCCL(ncclSuccess, ncclCommAbort(self.comm));
  EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
}

void asFailingThreads(int size, const std::function<void(Rank&)>& body) {
  const Holdings before;
  const ncclUniqueId id = makeId();
  onThreads(size, [&](int rank) { asFailingRank(id, size, rank, body); });
  before.expectUnchanged();
}

ncclResult_t asyncError(const Rank& self) {
  ncclResult_t state = ncclInternalError;
  EXPECT_NCCL(ncclSuccess, ncclCommGetAsyncError(self.comm, &state));
  return state;
}

void expectAsync(const Rank& self, ncclResult_t expected, const std::string& part) {
  EXPECT_EQ(expected, asyncError(self)) << "rank " << self.rank;
  const std::string text = ncclGetLastError(self.comm);
  EXPECT_NE(std::string::npos, text.find(part)) << "rank " << self.rank << ": " << text;
}

void expectRemoteTrouble(Rank& self, const std::string& part) {
  while (asyncError(self) == ncclSuccess) std::this_thread::yield();
  expectAsync(self, ncclRemoteError, part);
  EXPECT_NCCL(ncclSuccess, ncclCommAbort(self.comm));
  self.comm = nullptr;
  EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
}

std::string deviceText(int device) {
  char text[1024] = "";
  EXPECT_EQ(0, nccl4jEmuErrorText(device, text, sizeof text));
  return text;
}

}  // namespace nccl_test
