"""Rank 1 of a communicator whose rank 0 is another process, in Java: other_rank.py <file of the unique id>.

Knows nothing of nccl4j: loads the CUDA runtime and NCCL by their names, as the dynamic linker finds them, waits for the
file that rank 0 renames into place, and sums a number with rank 0.
"""
import ctypes
import os
import sys
import time

cudart = ctypes.CDLL("libcudart.so.13")
nccl = ctypes.CDLL("libnccl.so.2")


class UniqueId(ctypes.Structure):
    _fields_ = [("internal", ctypes.c_byte * 128)]


def check(status, call):
    if status != 0:
        sys.exit(f"{call} answers {status}")


def read_id(path, limit_seconds=60):
    end = time.monotonic() + limit_seconds
    while not os.path.exists(path):
        if time.monotonic() > end:
            sys.exit(f"rank 0 has not written {path}")
        time.sleep(0.01)
    with open(path, "rb") as file:
        return UniqueId.from_buffer_copy(file.read())


def main(path):
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    check(cudart.cudaSetDevice(int(os.environ["LOCAL_RANK"])), "cudaSetDevice")
    communicator, memory = ctypes.c_void_p(), ctypes.c_void_p()
    nccl.ncclCommInitRank.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, UniqueId, ctypes.c_int]
    check(nccl.ncclCommInitRank(ctypes.byref(communicator), size, read_id(path), rank), "ncclCommInitRank")
    check(cudart.cudaMalloc(ctypes.byref(memory), ctypes.c_size_t(4)), "cudaMalloc")
    number = ctypes.c_int(40)
    check(cudart.cudaMemcpy(memory, ctypes.byref(number), ctypes.c_size_t(4), 4), "cudaMemcpy")
    # Of one element of type int32 (2) with sum (0), on the default stream.
    check(nccl.ncclAllReduce(memory, memory, ctypes.c_size_t(1), 2, 0, communicator, None), "ncclAllReduce")
    check(cudart.cudaMemcpy(ctypes.byref(number), memory, ctypes.c_size_t(4), 4), "cudaMemcpy")
    print(f"rank {rank} of {size} has {number.value}")
    check(nccl.ncclCommFinalize(communicator), "ncclCommFinalize")
    check(nccl.ncclCommDestroy(communicator), "ncclCommDestroy")
    check(cudart.cudaFree(memory), "cudaFree")


main(sys.argv[1])
