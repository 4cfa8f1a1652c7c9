// What the library says of itself and of errors.
#include <cstdio>

#include "base/host_access.h"
#include "nccl/entry.h"
#include "nccl/state.h"

using namespace emu;

EMU_API ncclResult_t ncclGetVersion(int* version) {
  static Function function("ncclGetVersion");
  return nccl::entry(
      function, [&](Arguments& a) { a.pointer("version", version); },
      [&] {
        if (!given(version)) return nccl::fail(ncclInvalidArgument, "version is NULL");
        *version = NCCL_VERSION_CODE;
        return ncclSuccess;
      });
}

// The two that answer text cannot have a preset result, and log success.

EMU_API const char* ncclGetErrorString(ncclResult_t result) {
  static Function function("ncclGetErrorString");
  const char* text = nullptr;
  nccl::entry(
      function, [&](Arguments& a) { a.number("result", static_cast<int>(result)); },
      [&] {
        text = nccl::resultText(result);
        return ncclSuccess;
      });
  return text != nullptr ? text : nccl::resultText(result);
}

// The text of the communicator's own failure if it has one, else of the calling thread's last failed call. Valid until the
// thread's next call of this function.
EMU_API const char* ncclGetLastError(ncclComm_t comm) {
  static Function function("ncclGetLastError");
  static thread_local char text[1024];
  nccl::entry(
      function, [&](Arguments& a) { a.pointer("comm", comm); },
      [&] {
        std::string words;
        if (const auto state = nccl::find(comm)) words = state->asyncText();
        snprintf(text, sizeof text, "%s", words.empty() ? nccl::lastError().c_str() : words.c_str());
        return ncclSuccess;
      });
  return text;
}
