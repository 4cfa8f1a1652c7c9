// How every exported NCCL function begins and ends.
#pragma once

#include <new>
#include <utility>

#include "base/calls.h"
#include "base/export.h"
#include "base/host_access.h"
#include "base/try.h"
#include "nccl/arguments.h"
#include "nccl/errors.h"
#include "nccl/group.h"

namespace emu::nccl {

// The body of a function, counted, logged and with preset results; running out of host memory is an error.
template <class Describe, class Body>
ncclResult_t entry(Function& function, Describe&& describe, Body&& body) {
  return api<ncclResult_t>(function, std::forward<Describe>(describe), [&](Function& call) -> ncclResult_t {
    try {
      return body(call);
    } catch (const std::bad_alloc&) {
      return fail(ncclSystemError, "out of host memory");
    }
  });
}

// Likewise for calls that a group may hold: what fails here fails the group.
template <class Describe, class Body>
ncclResult_t groupedEntry(Function& function, Describe&& describe, Body&& body) {
  return entry(function, std::forward<Describe>(describe), [&](Function& call) { return group::note(body(call)); });
}

}  // namespace emu::nccl
