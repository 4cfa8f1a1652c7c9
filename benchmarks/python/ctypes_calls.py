"""The dispatch call from Python over ctypes: nanoseconds per call.

    ctypes_calls.py FOLDER [SECONDS]

FOLDER holds the benchmark libraries. "fresh" makes the structs anew for every call, as a wrapper without state does;
"reused" makes them once. Prints "name nanoseconds", of the fastest of several rounds.
"""

import ctypes
import sys
import time

ROUNDS = 9
EP_MAGIC = 0xC00FFFEE
TENSOR_MAGIC = 0xCAFECAFE


class Tensor(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("magic", ctypes.c_uint32),
        ("ndim", ctypes.c_uint32),
        ("datatype", ctypes.c_int32),
        ("data", ctypes.c_void_p),
        ("win_hdl", ctypes.c_void_p),
        ("win_offset", ctypes.c_uint64),
        ("sizes", ctypes.POINTER(ctypes.c_size_t)),
    ]


def struct_of_pointers(name, *pointers):
    fields = [("size", ctypes.c_uint32), ("magic", ctypes.c_uint32)]
    fields += [(pointer, ctypes.POINTER(Tensor)) for pointer in pointers]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


Inputs = struct_of_pointers("Inputs", "tokens", "topk_weights", "scales")
Outputs = struct_of_pointers("Outputs", "tokens", "topk_weights", "scales", "topk_idx")
Layout = struct_of_pointers("Layout", "expert_counters", "src_rank_counters", "expert_offsets", "recv_total_counter")


def tensor(address, *shape):
    sizes = (ctypes.c_size_t * len(shape))(*shape)
    return Tensor(ctypes.sizeof(Tensor), TENSOR_MAGIC, len(shape), 9, address, None, 0, sizes)


def structs():
    tokens, received, counters = tensor(4096, 128, 7168), tensor(8192, 8, 1024, 7168), tensor(12288, 8)
    inputs = Inputs(ctypes.sizeof(Inputs), EP_MAGIC, ctypes.pointer(tokens))
    outputs = Outputs(ctypes.sizeof(Outputs), EP_MAGIC, ctypes.pointer(received))
    layout = Layout(ctypes.sizeof(Layout), EP_MAGIC, ctypes.pointer(counters))
    return inputs, outputs, layout


def measure(name, call, seconds):
    rounds = []
    calls = 100
    for number in range(-2, ROUNDS):
        start = time.perf_counter_ns()
        for _ in range(calls):
            if call() != 0:
                raise SystemExit(name + " failed")
        each = (time.perf_counter_ns() - start) / calls
        if number < 0:
            calls = max(1, int(seconds / ROUNDS * 1e9 / each))
        else:
            rounds.append(each)
    print(f"{name} {min(rounds):.1f}")


def main():
    folder = sys.argv[1]
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 3.0
    dispatch = ctypes.CDLL(folder + "/libnccl_ep.so.0").ncclEpDispatch
    dispatch.restype = ctypes.c_int
    dispatch.argtypes = [ctypes.c_void_p] * 6
    handle = ctypes.c_void_p(4096)

    def fresh():
        inputs, outputs, layout = structs()
        return dispatch(handle, ctypes.byref(inputs), ctypes.byref(outputs), ctypes.byref(layout), None, handle)

    inputs, outputs, layout = structs()
    pointers = ctypes.byref(inputs), ctypes.byref(outputs), ctypes.byref(layout)

    def reused():
        return dispatch(handle, *pointers, None, handle)

    measure("fresh", fresh, seconds)
    measure("reused", reused, seconds)


main()
