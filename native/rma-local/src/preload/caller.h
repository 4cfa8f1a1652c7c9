// Who calls a function that LD_PRELOAD puts before a library's.
#pragma once

namespace one_host {

// Whether code lies in a file whose name begins with libnccl_ep.
bool isNcclEp(const void* code);

}  // namespace one_host
