// The few things of CUDA that copies need. All of it is for one thread: a context belongs to who made it current.
#pragma once

#include <cstddef>
#include <map>
#include <memory>

namespace rma_local {

// The device that memory belongs to.
int deviceOf(const void* memory);

// Copies between pinned memory and devices, on streams of its own, in contexts of its own unless
// NCCL4J_RMA_LOCAL_CONTEXT=primary. The kernels of NCCL EP spin while they wait for copies, so that nothing here may
// wait for them: once a device is prepared, there are only copies on its stream, and waits for that stream.
class Copies {
 public:
  Copies();
  ~Copies();
  Copies(const Copies&) = delete;
  Copies& operator=(const Copies&) = delete;

  // Before the first copy of a device's memory; reads the ends of [memory, memory + size), so that memory that cannot
  // be reached is told here.
  void prepare(int device, const void* memory, std::size_t size);

  void read(int device, void* pinned, const void* memory, std::size_t size);
  void write(int device, void* memory, const void* pinned, std::size_t size);

  // Pinned memory that pieces pass through, there once a device is prepared.
  static constexpr std::size_t pieceBytes = std::size_t{4} << 20;
  void* piece() const { return piece_; }

 private:
  struct Device;

  Device& current(int device);

  std::map<int, std::unique_ptr<Device>> devices_;
  void* piece_ = nullptr;
};

}  // namespace rma_local
