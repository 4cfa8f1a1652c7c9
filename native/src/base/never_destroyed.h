// State of the library that is never destroyed: threads may use it while the process ends.
#pragma once

namespace emu {

// The one object of its type; T is a type of the caller's own.
template <class T>
T& neverDestroyed() {
  static T& instance = *new T;
  return instance;
}

}  // namespace emu
