#include "nccl_harness.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

extern char** environ;

namespace nccl_test {

namespace {

std::map<std::string, Role>& roles() {
  static std::map<std::string, Role> instance;
  return instance;
}

constexpr char kRole[] = "NCCL4J_TEST_ROLE";
constexpr char kWord[] = "NCCL4J_TEST_WORD";

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> result;
  size_t start = 0;
  while (start <= text.size()) {
    const size_t end = std::min(text.find(';', start), text.size());
    result.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return result;
}

size_t countEntries(const char* folder) {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

}  // namespace

Option::Option(const char* name, const char* value) : name_(name) {
  char before[256] = "";
  EXPECT_EQ(0, nccl4jEmuGetOption(name, before, sizeof before));
  before_ = before;
  EXPECT_EQ(0, nccl4jEmuSetOption(name, value)) << name << " = " << value;
}

Option::~Option() { EXPECT_EQ(0, nccl4jEmuSetOption(name_.c_str(), before_.c_str())) << name_ << " = " << before_; }

ncclUniqueId makeId() {
  ncclUniqueId id;
  EXPECT_NCCL(ncclSuccess, ncclGetUniqueId(&id));
  return id;
}

void onThreads(int count, const std::function<void(int)>& body) {
  std::vector<std::thread> all;
  for (int i = 0; i < count; ++i) all.emplace_back([&body, i] { body(i); });
  for (std::thread& thread : all) thread.join();
}

void asRank(const ncclUniqueId& id, int size, int rank, const std::function<void(Rank&)>& body) {
  Rank self;
  self.rank = rank;
  self.size = size;
  ASSERT_CUDA(cudaSuccess, cudaSetDevice(rank));
  ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&self.comm, size, id, rank));
  ASSERT_CUDA(cudaSuccess, cudaStreamCreate(&self.stream));
  body(self);
  EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
  EXPECT_CUDA(cudaSuccess, cudaStreamDestroy(self.stream));
  EXPECT_NCCL(ncclSuccess, ncclCommDestroy(self.comm));
}

void asThreads(int size, const std::function<void(Rank&)>& body) {
  const ncclUniqueId id = makeId();
  onThreads(size, [&](int rank) { asRank(id, size, rank, body); });
}

RoleOf::RoleOf(const char* name, Role role) { roles().emplace(name, std::move(role)); }

Child::Child(const std::string& role, const std::vector<std::string>& parameters) {
  EXPECT_EQ(1u, roles().count(role)) << role;
  int ends[2];
  EXPECT_EQ(0, pipe2(ends, O_CLOEXEC));
  fd_ = ends[0];
  std::string line = role;
  for (const std::string& word : parameters) line += ";" + word;

  // The child finds its end of the pipe under a number of its own.
  constexpr int kChildEnd = 100;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], kChildEnd);
  std::vector<std::string> environment = {std::string(kRole) + "=" + line, std::string(kWord) + "=" + std::to_string(kChildEnd)};
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  std::vector<char*> pointers;
  for (std::string& entry : environment) pointers.push_back(entry.data());
  pointers.push_back(nullptr);
  std::string program = "/proc/self/exe";
  std::string filter = "--gtest_filter=NcclChild.PlaysItsRole";
  std::string brief = "--gtest_brief=1";
  char* arguments[] = {program.data(), filter.data(), brief.data(), nullptr};
  EXPECT_EQ(0, posix_spawn(&pid_, program.c_str(), &actions, nullptr, arguments, pointers.data()));
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
}

Child::Child(Child&& other) noexcept : pid_(other.pid_), fd_(other.fd_) {
  other.pid_ = -1;
  other.fd_ = -1;
}

Child::~Child() {
  if (pid_ > 0) {
    kill();
    join();
  }
  if (fd_ >= 0) close(fd_);
}

bool Child::awaitWord() {
  char word = 0;
  ssize_t length;
  do {
    length = read(fd_, &word, 1);
  } while (length < 0 && errno == EINTR);
  return length == 1;
}

void Child::kill() { ::kill(pid_, SIGKILL); }

int Child::join() {
  int status = -1;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return status;
}

void tellParent() {
  const char word = '.';
  EXPECT_EQ(1, write(atoi(getenv(kWord)), &word, 1));
}

std::string toHex(const ncclUniqueId& id) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (const char c : id.internal) {
    const auto byte = static_cast<unsigned char>(c);
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

ncclUniqueId fromHex(const std::string& text) {
  ncclUniqueId id;
  for (size_t i = 0; i < sizeof id.internal; ++i) {
    id.internal[i] = static_cast<char>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  }
  return id;
}

size_t openFiles() { return countEntries("/proc/self/fd"); }

size_t threads() { return countEntries("/proc/self/task"); }

size_t mappedArenas() {
  std::ifstream maps("/proc/self/maps");
  size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/memfd:nccl4j-emulator") != std::string::npos) ++count;
  }
  return count;
}

nccl4jEmuUsage_t usage() {
  nccl4jEmuUsage_t result;
  EXPECT_EQ(0, nccl4jEmuUsage(-1, &result));
  return result;
}

namespace {

// Ids whose ranks met in other processes are noticed when the next id is made.
void giveUpUsedIds() {
  ncclComm_t comm = nullptr;
  EXPECT_CUDA(cudaSuccess, cudaSetDevice(0));
  EXPECT_NCCL(ncclSuccess, ncclCommInitRank(&comm, 1, makeId(), 0));
  EXPECT_NCCL(ncclSuccess, ncclCommDestroy(comm));
}

}  // namespace

Holdings::Holdings() {
  giveUpUsedIds();
  files_ = openFiles();
  arenas_ = mappedArenas();
  communicators_ = usage().communicators;
}

void Holdings::expectUnchanged() const {
  giveUpUsedIds();
  EXPECT_EQ(files_, openFiles());
  EXPECT_EQ(arenas_, mappedArenas());
  EXPECT_EQ(communicators_, usage().communicators);
}

namespace {

// A wait that hangs is a failure, not a hanging test.
class Limits : public ::testing::Environment {
 public:
  void SetUp() override { ASSERT_EQ(0, nccl4jEmuSetOption("wait_limit_ms", "60000")); }
};

[[maybe_unused]] ::testing::Environment* const limits = ::testing::AddGlobalTestEnvironment(new Limits);

// Child processes are this program with this test alone.
TEST(NcclChild, PlaysItsRole) {
  const char* line = getenv(kRole);
  if (line == nullptr) {
    for (const auto& entry : roles()) EXPECT_TRUE(entry.second) << entry.first;
    return;
  }
  std::vector<std::string> parameters = words(line);
  const std::string name = parameters.front();
  parameters.erase(parameters.begin());
  ASSERT_EQ(1u, roles().count(name)) << name;
  roles().at(name)(parameters);
}

}  // namespace

}  // namespace nccl_test
