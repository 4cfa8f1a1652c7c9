#include "base/visible_devices.h"

#include <algorithm>

namespace emu {

namespace {

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// -1 if the entry is no ordinal below `count`.
int ordinal(const std::string& entry, int count) {
  if (entry.empty() || entry.size() > 4 || entry.find_first_not_of("0123456789") != std::string::npos) return -1;
  const int number = std::stoi(entry);
  return number < count ? number : -1;
}

}  // namespace

std::vector<int> visibleDevices(const std::string& list, int count, std::string* complaint) {
  std::vector<int> visible;
  size_t at = 0;
  while (at <= list.size()) {
    const size_t comma = std::min(list.find(',', at), list.size());
    const std::string entry = trimmed(list.substr(at, comma - at));
    at = comma + 1;
    if (entry.compare(0, 4, "GPU-") == 0 || entry.compare(0, 4, "MIG-") == 0) {
      *complaint = "emulated devices have no UUIDs such as " + entry + ": name them by number";
      break;
    }
    const int device = ordinal(entry, count);
    if (device < 0) break;
    if (std::find(visible.begin(), visible.end(), device) != visible.end()) {
      *complaint = "device " + entry + " is named twice";
      return {};
    }
    visible.push_back(device);
  }
  return visible;
}

}  // namespace emu
