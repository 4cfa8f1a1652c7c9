#include "caller.h"

#include <dlfcn.h>

#include <cstring>

namespace one_host {

bool isNcclEp(const void* code) {
  Dl_info info{};
  if (dladdr(code, &info) == 0 || info.dli_fname == nullptr) return false;
  const char* slash = std::strrchr(info.dli_fname, '/');
  const char* file = slash == nullptr ? info.dli_fname : slash + 1;
  return std::strncmp(file, "libnccl_ep", std::strlen("libnccl_ep")) == 0;
}

}  // namespace one_host
