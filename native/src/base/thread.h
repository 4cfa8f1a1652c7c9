// What every room needs to know of the calling thread.
#pragma once

namespace emu::thread {

int id();                   // the kernel's thread id
int device();               // current CUDA device, 0 at first
void setDevice(int device);

}  // namespace emu::thread
