// How every exported NCCL function begins and ends.
#pragma once

#include <type_traits>
#include <utility>

#include "base/calls.h"
#include "base/host_access.h"
#include "nccl/arguments.h"
#include "nccl/errors.h"
#include "nccl/group.h"

namespace emu::nccl {

// What a call answers whose body answers with a result or with nothing, and throws a Failure.
template <class Body>
ncclResult_t answerOf(Body&& body) {
  ncclResult_t result = ncclSuccess;
  const Failure end = endOf([&] {
    if constexpr (std::is_void_v<decltype(body())>) {
      body();
    } else {
      result = body();
    }
  });
  return end.code == ncclSuccess ? result : remember(end);
}

// The body of a function, counted, logged and with preset results.
template <class Describe, class Body>
ncclResult_t entry(Function& function, Describe&& describe, Body&& body) {
  return api<ncclResult_t>(function, std::forward<Describe>(describe),
                           [&](Function& call) { return answerOf([&] { return body(call); }); });
}

// Likewise for calls that a group may hold: what fails here fails the group.
template <class Describe, class Body>
ncclResult_t groupedEntry(Function& function, Describe&& describe, Body&& body) {
  return api<ncclResult_t>(function, std::forward<Describe>(describe),
                           [&](Function& call) { return group::note(answerOf([&] { return body(call); })); });
}

}  // namespace emu::nccl

#define EMU_NCCL(name, parameters, logged, ...) \
  EMU_FUNCTION(ncclResult_t, name, parameters, emu::nccl::entry, logged, __VA_ARGS__)
#define EMU_NCCL_GROUPED(name, parameters, logged, ...) \
  EMU_FUNCTION(ncclResult_t, name, parameters, emu::nccl::groupedEntry, logged, __VA_ARGS__)
