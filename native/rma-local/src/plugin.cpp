// The table that NCCL asks for: checks what it is given, and turns errors into results and lines on standard error.
#include <cstring>
#include <exception>

#include "rank.h"
#include "report.h"

namespace {

using namespace rma_local;
using abi::Result;

template <typename Body>
Result guarded(const char* function, Body body) noexcept {
  try {
    body();
    return Result::Success;
  } catch (const Error& e) {
    print("%s: %s", function, e.what());
    return e.result;
  } catch (const std::exception& e) {
    print("%s: %s", function, e.what());
    return Result::InternalError;
  }
}

void require(bool condition, const char* text) {
  if (!condition) fail(Result::InvalidArgument, "%s", text);
}

Result init(void** instance, std::uint64_t, void*) {
  static char nothing;
  *instance = &nothing;
  return Result::Success;
}

Result devices(int* count) {
  *count = 1;
  return Result::Success;
}

Result getProperties(int device, abi::DeviceProperties* properties) {
  return guarded("properties", [&] {
    require(device == 0, "there is device 0 only");
    *properties = {};
    properties->name = "rma-local";
    properties->guid = 0x6e63636c346a;
    // Not by DMA-BUF, which NCCL would export for each registration for nothing.
    properties->memoryKinds = abi::hostMemory | abi::deviceMemory;
    properties->megabitsPerSecond = 100'000;
    properties->mostCommunicators = 1 << 20;
    properties->mostReceives = 1;
    properties->deviceType = abi::proxyDevice;
    properties->physicalCount = 1;
    properties->mostBytes = std::size_t{1} << 40;
    properties->mostCollectiveBytes = std::size_t{1} << 40;
    properties->mostInOneRequest = 1;
    properties->rail = -1;
    properties->plane = -1;
  });
}

Result listen(void*, int device, void* address, void** listener) {
  return guarded("listen", [&] {
    require(device == 0, "there is device 0 only");
    const Address own = newAddress();
    std::memset(address, 0, abi::addressBytes);
    std::memcpy(address, &own, sizeof own);
    *listener = new Address(own);
  });
}

Result closeListener(void* listener) {
  delete static_cast<Address*>(listener);
  return Result::Success;
}

Result connect(void*, void** addresses, int ranks, int rank, void*, void** collective) {
  return guarded("connect", [&] {
    require(ranks > 0 && rank >= 0 && rank < ranks, "no such rank");
    std::vector<Address> all(static_cast<std::size_t>(ranks));
    for (std::size_t i = 0; i < all.size(); i++) std::memcpy(&all[i], addresses[i], sizeof(Address));
    *collective = new Rank(Group::join(all, rank), rank);
  });
}

Result closeCollective(void* collective) {
  delete static_cast<Rank*>(collective);
  return Result::Success;
}

Result createContext(void* collective, const abi::ContextConfig* config, void** context) {
  return guarded("create a context", [&] {
    Rank& rank = *static_cast<Rank*>(collective);
    require(config->contexts > 0, "a context needs one queue at least");
    require(config->rankStride > 0 && rank.ranks() % config->rankStride == 0,
            "the number of ranks must be a multiple of the stride");
    *context = new Context(rank, config->contexts, config->rankStride);
  });
}

Result destroyContext(void* context) {
  auto* of = static_cast<Context*>(context);
  if (of != nullptr) of->rank.end(*of);
  delete of;
  return Result::Success;
}

Result registerMemory(void* collective, void* data, std::size_t size, int kind, std::uint64_t, void** registration) {
  return guarded("register", [&] {
    require(data != nullptr && size > 0, "no memory");
    require(kind == abi::hostMemory || kind == abi::deviceMemory, "memory must be of the host or of a device");
    *registration = static_cast<Rank*>(collective)->registerPart(data, size, kind == abi::deviceMemory);
  });
}

// The memory is mapped in this process anyway.
Result registerDmaBuf(void* collective, void* data, std::size_t size, int kind, std::uint64_t, int,
                      std::uint64_t flags, void** registration) {
  return registerMemory(collective, data, size, kind, flags, registration);
}

Result deregister(void* collective, void* registration) {
  if (registration != nullptr) static_cast<Rank*>(collective)->deregister(static_cast<Registration*>(registration));
  return Result::Success;
}

// The place of `size` bytes in a rank's part.
Place place(void* registration, int rank, std::uint64_t offset, std::size_t size) {
  require(registration != nullptr, "no registration");
  const std::shared_ptr<Region>& region = static_cast<Registration*>(registration)->region;
  const std::size_t all = region->part(rank).size;
  if (offset > all || size > all - offset) {
    fail(Result::InvalidArgument, "%zu bytes at %llu are not in the %zu that rank %d registered", size,
         static_cast<unsigned long long>(offset), all, rank);
  }
  return {region, rank, offset};
}

// The context, once the queue and the other rank are known to be of it.
Context& checked(void* context, int number, std::uint32_t rank) {
  Context& of = *static_cast<Context*>(context);
  const int self = of.rank.self();
  const int other = static_cast<int>(rank);
  if (number < 0 || number >= of.count) {
    fail(Result::InvalidArgument, "queue %d of a context of %d", number, of.count);
  }
  if (other < 0 || other >= of.rank.ranks() || (other - self) % of.stride != 0) {
    fail(Result::InvalidArgument, "rank %d has no connection to rank %u of %d with a stride of %d", self, rank,
         of.rank.ranks(), of.stride);
  }
  return of;
}

Result put(void* context, int number, std::uint64_t fromOffset, void* from, std::size_t size, std::uint64_t toOffset,
           void* to, std::uint32_t rank, void** request) {
  return guarded("put", [&] {
    Context& of = checked(context, number, rank);
    Operation operation;
    operation.size = size;
    if (size > 0) {
      operation.from = place(from, of.rank.self(), fromOffset, size);
      operation.to = place(to, static_cast<int>(rank), toOffset, size);
    }
    *request = of.rank.begin(of, std::move(operation));
  });
}

Result putSignal(void* context, int number, std::uint64_t fromOffset, void* from, std::size_t size,
                 std::uint64_t toOffset, void* to, std::uint32_t rank, std::uint64_t signalOffset, void* signal,
                 std::uint64_t value, std::uint32_t kind, bool, void** request) {
  return guarded("put with a signal", [&] {
    Context& of = checked(context, number, rank);
    require(kind == abi::signalIncrement || kind == abi::signalAdd, "a signal is incremented or added to");
    require(signalOffset % sizeof(std::uint64_t) == 0, "a signal is aligned to its 8 bytes");
    Operation operation;
    operation.size = to == nullptr ? 0 : size;
    if (operation.size > 0) {
      operation.from = place(from, of.rank.self(), fromOffset, size);
      operation.to = place(to, static_cast<int>(rank), toOffset, size);
    }
    operation.signal = place(signal, static_cast<int>(rank), signalOffset, sizeof(std::uint64_t));
    operation.add = kind == abi::signalIncrement ? 1 : value;
    *request = of.rank.begin(of, std::move(operation));
  });
}

Result get(void* context, int number, std::uint64_t fromOffset, void* from, std::size_t size, std::uint64_t toOffset,
           void* to, std::uint32_t rank, void** request) {
  return guarded("get", [&] {
    Context& of = checked(context, number, rank);
    Operation operation;
    operation.size = size;
    if (size > 0) {
      operation.from = place(from, static_cast<int>(rank), fromOffset, size);
      operation.to = place(to, of.rank.self(), toOffset, size);
    }
    *request = of.rank.begin(of, std::move(operation));
  });
}

Result flush(void* context, int number, void*, std::uint32_t rank, void** request) {
  return guarded("flush", [&] {
    Context& of = checked(context, number, rank);
    *request = of.rank.begin(of, Operation{});
  });
}

Result test(void* collective, void* request, int* done) {
  Rank& rank = *static_cast<Rank*>(collective);
  *done = rank.isDone(static_cast<Request*>(request)) ? 1 : 0;
  // An error has been told where it occurred.
  return rank.hasFailed() ? Result::SystemError : Result::Success;
}

Result lastError(void* context, bool* failed) {
  *failed = static_cast<Context*>(context)->rank.hasFailed();
  return Result::Success;
}

Result finalize(void*) { return Result::Success; }

}  // namespace

extern "C" __attribute__((visibility("default"))) const abi::Plugin ncclRmaPlugin_v14 = {
    "rma-local", init,   devices,   getProperties, listen, connect, createContext, registerMemory, registerDmaBuf,
    deregister,  destroyContext, closeCollective, closeListener, put, putSignal, get, flush, test, nullptr, lastError,
    finalize};
