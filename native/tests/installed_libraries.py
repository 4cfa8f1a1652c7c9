"""The emulator under the names of the libraries, as a program in Python finds it: one copy, whatever name it has."""
import ctypes


def version(library, function):
    number = ctypes.c_int()
    assert getattr(library, function)(ctypes.byref(number)) == 0, function
    return number.value


cudart, nccl, nccl_ep = (ctypes.CDLL(name) for name in ("libcudart.so.13", "libnccl.so", "libnccl_ep.so.0"))
assert version(cudart, "cudaRuntimeGetVersion") == 13000
assert version(nccl, "ncclGetVersion") == 23007
assert version(nccl_ep, "ncclEpGetVersion") == 100
assert version(cudart, "cudaGetDeviceCount") > 1

# One state: NCCL knows the device that the runtime has made current, and the memory that it has allocated.
assert cudart.cudaSetDevice(1) == 0


class UniqueId(ctypes.Structure):
    _fields_ = [("internal", ctypes.c_byte * 128)]


identifier, communicator, memory, device = UniqueId(), ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int()
assert nccl.ncclGetUniqueId(ctypes.byref(identifier)) == 0
nccl.ncclCommInitRank.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, UniqueId, ctypes.c_int]
assert nccl.ncclCommInitRank(ctypes.byref(communicator), 1, identifier, 0) == 0
assert nccl.ncclCommCuDevice(communicator, ctypes.byref(device)) == 0 and device.value == 1
assert cudart.cudaMalloc(ctypes.byref(memory), ctypes.c_size_t(4)) == 0
number = ctypes.c_int(7)
assert cudart.cudaMemcpy(memory, ctypes.byref(number), ctypes.c_size_t(4), 4) == 0
assert nccl.ncclAllReduce(memory, memory, ctypes.c_size_t(1), 2, 0, communicator, None) == 0
assert cudart.cudaMemcpy(ctypes.byref(number), memory, ctypes.c_size_t(4), 4) == 0 and number.value == 7
assert nccl.ncclCommDestroy(communicator) == 0 and cudart.cudaFree(memory) == 0

# Through the other names, too.
emulator = ctypes.CDLL("libnccl4j_emulator.so")
address = lambda library, name: ctypes.cast(getattr(library, name), ctypes.c_void_p).value
assert address(emulator, "ncclGetVersion") == address(nccl, "ncclGetVersion") == address(nccl_ep, "ncclGetVersion")
print("libcudart.so.13, libnccl.so.2 and libnccl_ep.so.0 are the emulator")
