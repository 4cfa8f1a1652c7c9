// submit() for the rooms of the CUDA runtime itself, which must know where the work went.
#pragma once

#include <memory>

#include "cuda/stream.h"
#include "cuda/work.h"

namespace emu {

struct Submitted {
  Point point;            // of the work, or
  bool captured = false;  // it went into a graph
};

// The stream comes from streams::getForLaunch.
Submitted submitOn(const std::shared_ptr<Stream>& stream, Work work);

}  // namespace emu
