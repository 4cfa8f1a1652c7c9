// What the library says of itself and of errors.
#include <cstdio>

#include "nccl/entry.h"
#include "nccl/state.h"

namespace emu::nccl {

namespace {

void getVersion(int* out) {
  if (!given(out)) fail(ncclInvalidArgument, "version is NULL");
  *out = NCCL_VERSION_CODE;
}

// The text of the communicator's own failure if it has one, else of the calling thread's last failed call.
void writeLastError(ncclComm_t comm, char* text, size_t capacity) {
  std::string words;
  if (const auto state = find(comm)) words = state->asyncText();
  snprintf(text, capacity, "%s", words.empty() ? lastError().c_str() : words.c_str());
}

}  // namespace

EMU_NCCL(ncclGetVersion, (int* version), (version), getVersion(version))

// The two that answer text cannot have a preset result, and log success.

EMU_API const char* ncclGetErrorString(ncclResult_t result) {
  EMU_CALL(entry, (result), ncclSuccess);
  return resultText(result);
}

// Valid until the thread's next call of this function.
EMU_API const char* ncclGetLastError(ncclComm_t comm) {
  static thread_local char text[1024];
  EMU_CALL(entry, (comm), writeLastError(comm, text, sizeof text));
  return text;
}

}  // namespace emu::nccl
