// CUDA_VISIBLE_DEVICES: which of the machine's devices a process sees, and in which order.
#pragma once

#include <string>
#include <vector>

namespace emu {

// The ordinals that `list` names, of `count` devices. As in CUDA, what follows an entry that names no device is not
// seen, and a device named twice leaves none. `complaint` tells what is wrong with the list, if something is.
std::vector<int> visibleDevices(const std::string& list, int count, std::string* complaint);

}  // namespace emu
