// How every exported NCCL EP function begins and ends.
#pragma once

#include <new>

#include "base/calls.h"
#include "ep/call.h"

namespace emu::ep {

// The body of a function that need not answer with a code.
template <class Result, class Describe, class Body>
Result query(Function& function, const Describe& arguments, const Body& body) {
  Call call(function.name);
  return api<Result>(
      function,
      [&](Arguments& a) {
        arguments(a);
        call.describe(a);
      },
      [&] { return body(call); });
}

// What refuses the call becomes its result, and so does running out of host memory.
template <class Describe, class Body>
ncclResult_t entry(Function& function, const Describe& arguments, const Body& body) {
  return query<ncclResult_t>(function, arguments, [&](Call& call) {
    const auto refusal = refusalOf([&] {
      try {
        body(call);
      } catch (const std::bad_alloc&) {
        call.systemError("out of host memory");
      }
    });
    return refusal ? refusal->code : ncclSuccess;
  });
}

}  // namespace emu::ep

#define EMU_EP(name, parameters, logged, ...) \
  EMU_FUNCTION(ncclResult_t, name, parameters, emu::ep::entry, logged, __VA_ARGS__)
