// The control interface, nccl4j_emulator.h.
#include <string>

#include "base/calls.h"
#include "base/export.h"
#include "base/faults.h"
#include "base/host_access.h"
#include "base/object_counts.h"
#include "base/misuse.h"
#include "base/options.h"
#include "base/wait.h"
#include "cuda/device.h"
#include "cuda/event.h"
#include "cuda/graph_exec.h"
#include "cuda/kernel.h"
#include "cuda/memory.h"
#include "cuda/streams.h"
#include "cuda/work.h"
#include "nccl4j_emulator.h"

namespace emu {

namespace {

int copyOut(const std::string& text, char* to, size_t capacity) {
  if (to == nullptr || capacity == 0) return NCCL4J_EMU_BAD_VALUE;
  copyText(to, capacity, text.c_str());
  return NCCL4J_EMU_OK;
}

bool validDevice(int device) { return device >= 0 && device < options::devicesSoFar(); }

}  // namespace

EMU_API int nccl4jEmuInterface(int* version) {
  if (version == nullptr) return NCCL4J_EMU_BAD_VALUE;
  *version = NCCL4J_EMU_INTERFACE;
  return NCCL4J_EMU_OK;
}

EMU_API int nccl4jEmuSetOption(const char* name, const char* value) { return options::set(name, value); }

EMU_API int nccl4jEmuGetOption(const char* name, char* value, size_t capacity) {
  std::string text;
  const int result = options::get(name, &text);
  return result == NCCL4J_EMU_OK ? copyOut(text, value, capacity) : result;
}

EMU_API int nccl4jEmuSetEnvironment(const char* name, const char* value) {
  return options::setEnvironment(name, value);
}

EMU_API int nccl4jEmuCallLog(size_t capacity) {
  calls::log().setCapacity(capacity);
  return NCCL4J_EMU_OK;
}

EMU_API size_t nccl4jEmuCalls(uint64_t from, nccl4jEmuCall_t* calls, size_t capacity) {
  return calls::log().copy(from, calls, capacity);
}

EMU_API uint64_t nccl4jEmuCallCount(const char* function) { return calls::count(function); }

EMU_API int nccl4jEmuPresetResult(const char* function, int result, uint64_t skip, uint64_t times) {
  if (function == nullptr || times == 0) return NCCL4J_EMU_BAD_VALUE;
  return calls::preset(function, result, skip, times) ? NCCL4J_EMU_OK : NCCL4J_EMU_UNKNOWN_NAME;
}

EMU_API int nccl4jEmuClearPresets() {
  calls::clearPresets();
  return NCCL4J_EMU_OK;
}

EMU_API int nccl4jEmuTimeline(size_t capacity) {
  workLog().setCapacity(capacity);
  return NCCL4J_EMU_OK;
}

EMU_API size_t nccl4jEmuWork(uint64_t from, nccl4jEmuWork_t* work, size_t capacity) {
  return workLog().copy(from, work, capacity);
}

EMU_API int nccl4jEmuInjectFault(nccl4jEmuFault_t kind, int subject, uint64_t nth, int64_t value) {
  return faults::inject(static_cast<int>(kind), subject, nth, value);
}

EMU_API int nccl4jEmuClearFaults() {
  faults::clear();
  return NCCL4J_EMU_OK;
}

EMU_API int nccl4jEmuBreakWaits(const char* reason) {
  breakWaits(reason);
  return NCCL4J_EMU_OK;
}

EMU_API size_t nccl4jEmuMisuses(uint64_t from, nccl4jEmuMisuse_t* records, size_t capacity) {
  return misuseLog().copy(from, records, capacity);
}

EMU_API int nccl4jEmuUsage(int device, nccl4jEmuUsage_t* usage) {
  if (usage == nullptr || (device != -1 && !validDevice(device))) return NCCL4J_EMU_BAD_VALUE;
  const memory::Usage memory = memory::usage(device);
  *usage = nccl4jEmuUsage_t{};
  usage->device_allocations = memory.deviceAllocations;
  usage->device_bytes = memory.deviceBytes;
  usage->peak_device_bytes = memory.peakDeviceBytes;
  usage->pinned_allocations = memory.pinnedAllocations;
  usage->pinned_bytes = memory.pinnedBytes;
  usage->streams = streams::created(device);
  usage->events = events().count(device);
  usage->graphs = graphs().count(device);
  usage->graph_execs = graphExecs().count(device);
  usage->communicators = objects::communicators.count(device);
  usage->windows = objects::windows.count(device);
  usage->groups = objects::groups.count(device);
  usage->handles = objects::handles.count(device);
  usage->host_waits = device::hostWaits();
  return NCCL4J_EMU_OK;
}

EMU_API int nccl4jEmuDeclareMemory(void* address, size_t bytes, int device) {
  if (!validDevice(device) || bytes == 0 || !host::mapped(address, bytes)) return NCCL4J_EMU_BAD_VALUE;
  return memory::declare(address, bytes, device) == cudaSuccess ? NCCL4J_EMU_OK : NCCL4J_EMU_BAD_VALUE;
}

EMU_API int nccl4jEmuWithdrawMemory(void* address) {
  return memory::withdraw(address) == cudaSuccess ? NCCL4J_EMU_OK : NCCL4J_EMU_BAD_VALUE;
}

EMU_API int nccl4jEmuDescribeAddress(const void* address, char* text, size_t capacity) {
  return copyOut(memory::describe(address), text, capacity);
}

EMU_API int nccl4jEmuHostOf(int device, int* host) {
  if (host == nullptr || !validDevice(device)) return NCCL4J_EMU_BAD_VALUE;
  *host = options::hostOf(options::machineDevice(device));
  return NCCL4J_EMU_OK;
}

EMU_API int nccl4jEmuErrorText(int device, char* text, size_t capacity) {
  if (!validDevice(device)) return NCCL4J_EMU_BAD_VALUE;
  return copyOut(device::stickyText(device), text, capacity);
}

// ---- kernels ----

EMU_API int nccl4jEmuRegisterKernel(const char* name, const nccl4jEmuParameter_t* parameters, size_t count,
                                    nccl4jEmuKernel_t kernel, void* context) {
  return kernels::add(name, parameters, count, kernel, context);
}

EMU_API int nccl4jEmuKernelTouch(const nccl4jEmuLaunch_t* launch, const void* address, size_t bytes) {
  WorkContext& context = *static_cast<WorkContext*>(launch->work);
  return resultOf([&] { context.touch("memory", address, bytes); });
}

EMU_API int nccl4jEmuKernelFail(const nccl4jEmuLaunch_t* launch, int error, const char* reason) {
  WorkContext& context = *static_cast<WorkContext*>(launch->work);
  return resultOf([&] { context.fail(static_cast<cudaError_t>(error), "%s", reason); });
}

}  // namespace emu
