"""A rank in Python of a job whose other ranks are in Java: mixed_rank.py FOLDER, as torchrun starts it.

Knows nothing of nccl4j: it calls the CUDA runtime, NCCL and NCCL EP by ctypes, as the dynamic linker finds them. The
unique id goes by a file in FOLDER; then it makes the same collective calls as MixedRank.java, with the same numbers.
"""
import ctypes
import os
import sys
import time
from ctypes import byref, c_byte, c_char, c_float, c_int, c_int64, c_size_t, c_uint, c_uint64, c_ulong, c_void_p, sizeof

EXPERTS, TOKENS, TOP_K, HIDDEN = 4, 5, 2, 512
MAGIC, TENSOR_MAGIC = 0xC00FFFEE, 0xCAFECAFE
INT32, INT64, FLOAT32 = 2, 4, 7
LOW_LATENCY, EXPERT_MAJOR = 0, 1

cudart = ctypes.CDLL("libcudart.so.13")
nccl = ctypes.CDLL("libnccl.so.2")
nccl_ep = ctypes.CDLL("libnccl_ep.so.0")


class UniqueId(ctypes.Structure):
    _fields_ = [("internal", c_byte * 128)]


class Tensor(ctypes.Structure):
    _fields_ = [("size", c_uint), ("magic", c_uint), ("ndim", c_uint), ("datatype", c_int), ("data", c_void_p),
                ("win_hdl", c_void_p), ("win_offset", c_uint64), ("sizes", ctypes.POINTER(c_size_t))]


class GroupConfig(ctypes.Structure):
    _fields_ = [("size", c_uint), ("magic", c_uint), ("version", c_uint), ("algorithm", c_int), ("num_experts", c_uint),
                ("max_dispatch_tokens_per_rank", c_uint), ("max_recv_tokens_per_rank", c_uint),
                ("max_token_bytes", c_uint), ("rdma_buffer_size", c_ulong), ("num_qp_per_rank", c_uint),
                ("num_channels", c_uint), ("max_num_sms", c_uint), ("alloc", c_void_p * 3), ("enable_mask", c_uint),
                ("timeout_ns", c_uint64), ("zero_copy", c_int), ("overflow_policy", c_int), ("num_topk", c_uint),
                ("padding_v2", c_char * 4)]


def structure(*tensors, tail=()):
    """A struct of NCCL EP that names tensors, or none for NULL."""
    fields = [("size", c_uint), ("magic", c_uint)]
    fields += [(f"tensor{i}", ctypes.POINTER(Tensor)) for i in range(len(tensors))] + list(tail)
    made = type("Structure", (ctypes.Structure,), {"_fields_": fields})()
    made.size, made.magic = sizeof(made), MAGIC
    for i, tensor in enumerate(tensors):
        if tensor is not None:
            setattr(made, f"tensor{i}", ctypes.pointer(tensor))
    return made


def call(library, name, *arguments):
    status = getattr(library, name)(*arguments)
    if status != 0:
        sys.exit(f"{name} answers {status}")


def id_file(folder):
    """The file of this start of a job."""
    run = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    if run == "none":
        sys.exit("jobs are told apart by their id: torchrun --rdzv_id=<one of its own>")
    return os.path.join(folder, f"nccl-id-{run}-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}")


def publish_id(path):
    unique = UniqueId()
    call(nccl, "ncclGetUniqueId", byref(unique))
    with open(os.open(path + ".partial", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(bytes(unique))
    os.replace(path + ".partial", path)
    return unique


def read_id(path, limit_seconds=60):
    end = time.monotonic() + limit_seconds
    while not os.path.exists(path):
        if time.monotonic() > end:
            sys.exit(f"rank 0 has not written {path} in {limit_seconds} s")
        time.sleep(0.01)
    with open(path, "rb") as file:
        return UniqueId.from_buffer_copy(file.read())


def allocate(datatype, element, *shape):
    count = 1
    for extent in shape:
        count *= extent
    memory = c_void_p()
    call(cudart, "cudaMalloc", byref(memory), c_size_t(count * sizeof(element)))
    return Tensor(sizeof(Tensor), TENSOR_MAGIC, len(shape), datatype, memory.value, None, 0,
                  (c_size_t * len(shape))(*shape))


def write(tensor, values):
    call(cudart, "cudaMemcpy", c_void_p(tensor.data), values, c_size_t(sizeof(values)), 4)


def read(tensor, element, count):
    values = (element * count)()
    call(cudart, "cudaMemcpy", values, c_void_p(tensor.data), c_size_t(sizeof(values)), 4)
    return values


def value(rank, token, element):
    return 1 + rank * TOKENS + token + element % 8 * 0.125


def expert(rank, token, k):
    return (rank + token + k) % EXPERTS


def layer(communicator, rank, size):
    config = GroupConfig(sizeof(GroupConfig), MAGIC, 2, LOW_LATENCY, EXPERTS, TOKENS, 0, HIDDEN * 4)
    group, handle = c_void_p(), c_void_p()
    call(nccl_ep, "ncclEpCreateGroup", byref(group), communicator, byref(config))
    call(nccl_ep, "ncclEpInitHandle", byref(handle), group, EXPERT_MAJOR, None, TOP_K, None)

    local = EXPERTS // size
    tokens, combined = (allocate(FLOAT32, c_float, TOKENS, HIDDEN) for _ in range(2))
    routing, weights = allocate(INT64, c_int64, TOKENS, TOP_K), allocate(FLOAT32, c_float, TOKENS, TOP_K)
    received = allocate(FLOAT32, c_float, local, size * TOKENS, HIDDEN)
    counts = allocate(INT32, c_int, local)
    rows = (c_float * (TOKENS * HIDDEN))(*(value(rank, t, i) for t in range(TOKENS) for i in range(HIDDEN)))
    write(tokens, rows)
    write(routing, (c_int64 * (TOKENS * TOP_K))(*(expert(rank, t, k) for t in range(TOKENS) for k in range(TOP_K))))
    write(weights, (c_float * (TOKENS * TOP_K))(*(0.25, 0.75) * TOKENS))

    call(nccl_ep, "ncclEpUpdateHandle", handle, byref(routing), None, None)
    info = structure(counts, None, None, None, tail=[("recv_topk_idx_kind", c_int), ("padding_v2", c_char * 4)])
    call(nccl_ep, "ncclEpDispatch", handle, byref(structure(tokens, None, None)),
         byref(structure(received, None, None, None)), byref(info), None, None)
    call(nccl_ep, "ncclEpCombine", handle, byref(structure(received, None, None)), byref(structure(combined, weights)),
         None, None)
    call(cudart, "cudaDeviceSynchronize")

    got = read(received, c_float, local * size * TOKENS * HIDDEN)
    for zone, count in enumerate(read(counts, c_int, local)):
        heads = sorted(got[(zone * size * TOKENS + row) * HIDDEN] for row in range(count))
        expected = sorted(value(source, t, 0) for source in range(size) for t in range(TOKENS) for k in range(TOP_K)
                          if expert(source, t, k) == rank * local + zone)
        if heads != expected:
            sys.exit(f"rank {rank}, local expert {zone} has rows {heads}, not {expected}")
    if list(read(combined, c_float, TOKENS * HIDDEN)) != list(rows):
        sys.exit(f"rank {rank}: combined rows differ")
    call(nccl_ep, "ncclEpHandleDestroy", handle)
    call(nccl_ep, "ncclEpGroupDestroy", group)


def main(folder):
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    call(cudart, "cudaSetDevice", int(os.environ["LOCAL_RANK"]))
    path = id_file(folder)
    unique = publish_id(path) if rank == 0 else read_id(path)
    communicator = c_void_p()
    nccl.ncclCommInitRank.argtypes = [ctypes.POINTER(c_void_p), c_int, UniqueId, c_int]
    call(nccl, "ncclCommInitRank", byref(communicator), size, unique, rank)
    if rank == 0:
        os.remove(path)
    layer(communicator, rank, size)
    call(nccl, "ncclCommFinalize", communicator)
    call(nccl, "ncclCommDestroy", communicator)
    print(f"rank {rank} of {size}, in Python: rows are right")


main(sys.argv[1])
