#include "ep/tensor.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/live_objects.h"
#include "base/never_destroyed.h"
#include "ep/entry.h"
#include "ep/structs.h"
#include "nccl/arguments.h"
#include "nccl/communicator.h"
#include "nccl/delayed_free.h"

namespace emu::ep {

size_t elementBytes(ncclDataType_t type) {
  if (type == ncclFloat4x2) return 1;
  return nccl::validType(type) ? nccl::sizeOf(type) : 0;
}

const char* typeName(ncclDataType_t type) {
  static const char* const names[] = {"i8",  "u8",  "i32",  "u32",  "i64",  "u64",  "f16",
                                      "f32", "f64", "bf16", "e4m3", "e5m2", "fp4x2"};
  return static_cast<unsigned>(type) < sizeof names / sizeof names[0] ? names[type] : "?";
}

size_t product(size_t a, size_t b) {
  size_t result;
  return __builtin_mul_overflow(a, b, &result) ? SIZE_MAX : result;
}

size_t sum(size_t a, size_t b) {
  size_t result;
  return __builtin_add_overflow(a, b, &result) ? SIZE_MAX : result;
}

size_t aligned(size_t value, size_t to) {
  return sum(value, to - 1) == SIZE_MAX ? SIZE_MAX : (value + to - 1) / to * to;
}

namespace {

// A descriptor of ncclEpTensorAlloc. The memory of destroyed ones is kept a while, unrecognisable, so that a second
// destroy, or another use, is refused and not served from memory that belongs to someone else by then.
struct DynamicDescriptor {
  ncclEpTensor_t descriptor{};
  std::vector<size_t, nccl::DelayedFreeAllocator<size_t>> sizes;
};

using DynamicDescriptors = LiveObjects<const ncclEpTensor_t*, DynamicDescriptor>;
DynamicDescriptors& dynamicDescriptors() { return neverDestroyed<DynamicDescriptors>(); }

bool owns(const ncclEpTensor_t* descriptor) {
  const auto live = dynamicDescriptors().find(descriptor);
  return live != nullptr && live->sizes.data() == descriptor->sizes;
}

bool initialised(const ncclEpTensor_t* descriptor) {
  if (!readable(descriptor, sizeof *descriptor)) return false;
  if (descriptor->size < NCCL_EP_TENSOR_V1_SIZE) return false;
  if (descriptor->magic == NCCL_EP_TENSOR_MAGIC) return true;
  return descriptor->magic == kTensorMagicDynamic && owns(descriptor);
}

Tensor decode(Call& call, const char* name, const ncclEpTensor_t* descriptor) {
  if (!initialised(descriptor)) call.aborts("%s: not an initialised tensor descriptor", name);
  if (descriptor->ndim > 0 && !readable(descriptor->sizes, product(descriptor->ndim, sizeof(size_t)))) {
    call.undefined("%s: sizes of the tensor descriptor is no array of %u extents", name, descriptor->ndim);
  }
  Tensor tensor;
  tensor.present = true;
  tensor.descriptor = descriptor;
  tensor.ndim = descriptor->ndim;
  tensor.type = descriptor->datatype;
  tensor.data = static_cast<unsigned char*>(descriptor->data);
  tensor.window = descriptor->win_hdl;
  tensor.offset = descriptor->win_offset;
  for (unsigned i = 0; i < descriptor->ndim; ++i) {
    if (i < Tensor::kDimensions) tensor.sizes[i] = descriptor->sizes[i];
    if (descriptor->sizes[i] == 0) tensor.empty = true;
  }
  if (tensor.data == nullptr && tensor.window == nullptr && !tensor.empty) {
    call.aborts("%s: tensor without data and without a window", name);
  }
  return tensor;
}

void tensorAlloc(Call& call, ncclEpTensor_t** tensor, unsigned ndim, ncclDataType_t type, const size_t* sizes,
                         const ncclEpTensorAllocConfig_t* config) {
  decodeStruct(call, "config", config, false);
  if (tensor == nullptr || sizes == nullptr || ndim == 0) {
    call.invalidArgument("tensor, sizes and ndim must not be NULL or 0");
  }
  if (!readable(sizes, product(ndim, sizeof *sizes))) call.undefined("sizes is no array of %u extents", ndim);
  if (!writable(tensor, sizeof *tensor)) call.undefined("tensor cannot be written");
  const auto made = std::allocate_shared<DynamicDescriptor>(nccl::DelayedFreeAllocator<DynamicDescriptor>());
  made->sizes.assign(sizes, sizes + ndim);
  made->descriptor.size = sizeof made->descriptor;
  made->descriptor.magic = kTensorMagicDynamic;
  made->descriptor.ndim = ndim;
  made->descriptor.datatype = type;
  made->descriptor.sizes = made->sizes.data();
  dynamicDescriptors().add(&made->descriptor, made);
  *tensor = &made->descriptor;
}

void tensorDestroy(ncclEpTensor_t* tensor) {
  if (tensor == nullptr) return;
  // Without a word: a caller that probes for the generation of the library gets this answer on purpose.
  if (!initialised(tensor) || tensor->magic != kTensorMagicDynamic) throw Refusal{ncclInvalidArgument};
  if (const auto ended = dynamicDescriptors().take(tensor)) ended->descriptor.magic = 0;
}

// For descriptors that are not looked into.
const void* address(const void* pointer) { return pointer; }

}  // namespace

Tensor decodeRequired(Call& call, const char* name, const ncclEpTensor_t* descriptor) {
  if (descriptor == nullptr) call.aborts("%s: NULL, but required", name);
  return decode(call, name, descriptor);
}

Tensor decodeOptional(Call& call, const char* name, const ncclEpTensor_t* descriptor) {
  return descriptor == nullptr ? Tensor{} : decode(call, name, descriptor);
}

void* currentData(Call& call, const char* name, const ncclEpTensor_t* descriptor) {
  if (!initialised(descriptor)) call.undefined("%s: the descriptor given to the send_only call is gone", name);
  return descriptor->data;
}

void describe(Arguments& arguments, const char* name, const ncclEpTensor_t* descriptor) {
  if (descriptor == nullptr) return;
  if (!readable(descriptor, sizeof *descriptor)) {
    arguments.text(name, "unreadable");
    return;
  }
  std::string text = typeName(descriptor->datatype);
  text += '[';
  if (descriptor->ndim > 8 || !readable(descriptor->sizes, descriptor->ndim * sizeof(size_t))) {
    text += "?";
  } else {
    for (unsigned i = 0; i < descriptor->ndim; ++i) text += (i > 0 ? "," : "") + std::to_string(descriptor->sizes[i]);
  }
  char place[80];
  std::snprintf(place, sizeof place, "]@%p", descriptor->data);
  text += place;
  if (descriptor->win_hdl != nullptr) {
    std::snprintf(place, sizeof place, "+w%p:%llu", static_cast<void*>(descriptor->win_hdl),
                  static_cast<unsigned long long>(descriptor->win_offset));
    text += place;
  }
  arguments.text(name, text.c_str());
}

void resolveWindow(Call& call, const char* name, ncclComm_t comm, Tensor* tensor) {
  if (!tensor->present || tensor->data != nullptr || tensor->window == nullptr || tensor->empty) return;
  const ncclWindow_vidmem* const found = window(comm, tensor->window);
  if (found == nullptr) call.invalidArgument("%s: its window is not one of the group's communicator", name);
  if (found->base == nullptr) call.invalidUsage("%s: its window has no memory", name);
  tensor->data = found->base + tensor->offset;
}

void checkWindow(Call& call, const char* name, ncclComm_t comm, const Tensor& tensor) {
  if (!windowed(tensor) || window(comm, tensor.window) != nullptr) return;
  call.undefined("%s: its window is not one of the group's communicator", name);
}

uint64_t windowPlace(ncclComm_t comm, const Tensor& tensor) {
  const ncclWindow_vidmem* const found = windowed(tensor) ? window(comm, tensor.window) : nullptr;
  if (found == nullptr) return 0;
  return ((found->ordinal + 1) << 40) ^ tensor.offset;
}

EMU_EP(ncclEpTensorAlloc,
       (ncclEpTensor_t** tensor, unsigned int ndim, ncclDataType_t datatype, const size_t* sizes,
        const ncclEpTensorAllocConfig_t* config), (tensor, ndim, typeName(datatype), config),
       tensorAlloc(call, tensor, ndim, datatype, sizes, config))

EMU_EP(ncclEpTensorDestroy, (ncclEpTensor_t* tensor), (address(tensor)), tensorDestroy(tensor))

}  // namespace emu::ep
