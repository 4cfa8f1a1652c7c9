/*
 * Control interface of the nccl4j emulator.
 *
 * The emulator exports the CUDA runtime, NCCL and NCCL EP under their real names. What those libraries have no call for
 * (options, faults, the call log, what is alive) is here. Every function may be called from any thread, also before the
 * first CUDA call, and returns 0 or one of the NCCL4J_EMU_* codes below unless it says otherwise. Strings are UTF-8 and
 * always terminated; a text that does not fit is cut.
 */
#ifndef NCCL4J_EMULATOR_H
#define NCCL4J_EMULATOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NCCL4J_EMU_OK 0
#define NCCL4J_EMU_UNKNOWN_NAME 1
#define NCCL4J_EMU_BAD_VALUE 2
#define NCCL4J_EMU_TOO_LATE 3

/* Version of this interface; raised with every change of a struct or of a meaning. */
#define NCCL4J_EMU_INTERFACE 3
int nccl4jEmuInterface(int* version);

/*
 * Options. Each is also read once from the environment as NCCL4J_EMU_<NAME IN CAPITALS>; a call wins over the environment.
 *   misuse              abort | report      what happens where the real library would end the process
 *   poison              0 | 1               fill new and freed memory with a pattern instead of zeros
 *   shuffle             seed, 0 = off       permute the order that the real library leaves open
 *   api                 2 | 0.2.0           NCCL EP generation: API v2, or release 0.2.0
 *   compute_capability  90 | 100
 *   devices             1..64               number of devices; fixed by the first CUDA call
 *   device_memory       bytes per device
 *   sms                 multiprocessors per device
 *   shared_devices      0 | 1               allow two ranks of a communicator on one device
 *   host_devices        devices of each emulated host, 0 = all are in one; ranks on different hosts are in different
 *                       LSA teams, which NCCL_LSA_TEAM_SIZE may make smaller still; read when a communicator is made
 *   built_nccl          version code        NCCL that NCCL EP was built with; release 0.2.0 compares it with that which runs
 *   wait_limit_ms       0 = none            end of every wait among ranks that the real library would never end
 */
int nccl4jEmuSetOption(const char* name, const char* value);
int nccl4jEmuGetOption(const char* name, char* value, size_t capacity);

/* What getenv answers inside the emulator for the library's own variables (NCCL_EP_...); value NULL = as in the environment. */
int nccl4jEmuSetEnvironment(const char* name, const char* value);

/* ---- call log ---- */

typedef struct {
    uint64_t sequence;    /* from 1, in the order of return */
    uint64_t time_ns;     /* monotonic, at entry */
    uint64_t duration_ns;
    int32_t device;       /* current device of the calling thread */
    int32_t rank;         /* rank in the communicator concerned, -1 where there is none */
    int32_t thread;       /* kernel thread id */
    int32_t result;       /* what the call returned */
    char function[48];
    char arguments[456];  /* "name=value ..." with structs decoded */
} nccl4jEmuCall_t;

/* Keeps the newest `capacity` calls from now on; 0 ends the log. Earlier entries are dropped. */
int nccl4jEmuCallLog(size_t capacity);
/* Copies entries with sequence >= from, oldest first; returns how many. */
size_t nccl4jEmuCalls(uint64_t from, nccl4jEmuCall_t* calls, size_t capacity);
/* Calls of one function since the load of the library, logged or not; NULL counts all. */
uint64_t nccl4jEmuCallCount(const char* function);

/* After `skip` further calls of `function`, the next `times` calls return `result` without doing anything. */
int nccl4jEmuPresetResult(const char* function, int result, uint64_t skip, uint64_t times);
int nccl4jEmuClearPresets(void);

/* ---- timeline of executed work ---- */

typedef struct {
    uint64_t start_ns;
    uint64_t end_ns;
    uint64_t stream;      /* cudaStream_t the work ran on */
    int32_t device;
    int32_t rank;         /* -1 where there is none */
    int32_t from_graph;   /* 1 if a graph launch ran it */
    int32_t error;        /* cudaError_t it ended with */
    char operation[48];
} nccl4jEmuWork_t;

int nccl4jEmuTimeline(size_t capacity);
size_t nccl4jEmuWork(uint64_t from, nccl4jEmuWork_t* work, size_t capacity);

/* ---- faults ---- */

typedef enum {
    NCCL4J_EMU_FAULT_DELAY = 0,          /* the rank's n-th EP operation starts value milliseconds late */
    NCCL4J_EMU_FAULT_SILENCE = 1,        /* from its n-th EP operation on, nobody hears of the rank; its own calls return */
    NCCL4J_EMU_FAULT_END_PROCESS = 2,    /* the process ends by SIGKILL at the rank's n-th EP operation */
    NCCL4J_EMU_FAULT_ALLOCATION = 3,     /* the device's n-th device or pinned allocation fails */
    NCCL4J_EMU_FAULT_LAUNCH = 4,         /* the device's n-th enqueued operation fails at launch (cudaErrorLaunchFailure) */
    NCCL4J_EMU_FAULT_DROP_MESSAGES = 5,  /* from its n-th EP operation on, the rank does not see what peer `value` sends */
    NCCL4J_EMU_FAULT_SLOW_LINK = 6       /* from its n-th EP operation on, other LSA teams' data reach the rank value milliseconds late */
} nccl4jEmuFault_t;

/* `subject` is a rank or a device as the kind says, -1 = any; `nth` counts from 1, from this call on. */
int nccl4jEmuInjectFault(nccl4jEmuFault_t kind, int subject, uint64_t nth, int64_t value);
int nccl4jEmuClearFaults(void);

/* Ends every wait among ranks in this process, now and for ever after, with `reason`, until called with NULL. */
int nccl4jEmuBreakWaits(const char* reason);

/* ---- kernels ---- */

/*
 * What runs on a GPU as a kernel is a function here, known by the kernel's name. Programs load an image (any cubin, fatbin or
 * PTX text: it is not looked into) with cudaLibraryLoadData, ask for the kernel by name with cudaLibraryGetKernel and launch
 * it with cudaLaunchKernelExC; every library has all kernels that are registered.
 */

typedef struct {
    size_t offset;        /* in the parameter block, where a compiler would put it */
    size_t size;
} nccl4jEmuParameter_t;

typedef struct {
    uint32_t grid[3];
    uint32_t block[3];
    size_t shared_bytes;
    const void* arguments; /* the parameter block as it was at the launch or at its capture */
    uint64_t stream;       /* cudaStream_t it runs on, that of the graph launch for replayed work */
    int32_t device;
    int32_t from_graph;    /* 1 if a graph launch runs it */
    void* work;            /* for the two calls below */
} nccl4jEmuLaunch_t;

/*
 * Does what all blocks of the launch would do, in stream order, once per launch and per replay, on a thread of the emulator.
 * Must not call CUDA nor wait for anything that does. Returns cudaSuccess or the error that the device is lost with.
 */
typedef int (*nccl4jEmuKernel_t)(const nccl4jEmuLaunch_t* launch, void* context);

/*
 * Registers the kernel under its name. A name may be registered anew: kernels that were asked for before stay what they are.
 * `kernel` NULL removes it. `context` and the function stay in use for as long as a library or a graph that has the kernel.
 */
int nccl4jEmuRegisterKernel(const char* name, const nccl4jEmuParameter_t* parameters, size_t count, nccl4jEmuKernel_t kernel,
                            void* context);

/*
 * For the kernel, before it reads or writes [address, +bytes): cudaSuccess if that is one live allocation of its device or
 * pinned memory, which then stays in place until the kernel returns; else cudaErrorIllegalAddress, to be returned, with the
 * reason kept for nccl4jEmuErrorText.
 */
int nccl4jEmuKernelTouch(const nccl4jEmuLaunch_t* launch, const void* address, size_t bytes);

/* For the kernel: keeps the reason of the error that it is about to return, and returns that error. */
int nccl4jEmuKernelFail(const nccl4jEmuLaunch_t* launch, int error, const char* reason);

/* ---- misuse that would have ended the process ---- */

typedef enum {
    NCCL4J_EMU_END_ABORT = 0,
    NCCL4J_EMU_END_THROW = 1,
    NCCL4J_EMU_END_EXIT = 2,
    NCCL4J_EMU_END_TRAP = 3,
    NCCL4J_EMU_END_UNDEFINED = 4
} nccl4jEmuEnd_t;

typedef struct {
    uint64_t sequence;
    int32_t end;          /* nccl4jEmuEnd_t */
    int32_t rank;
    int32_t device;
    int32_t reserved;
    char function[48];
    char text[512];
} nccl4jEmuMisuse_t;

/* Copies records with sequence >= from (they count from 1), oldest first; returns how many. */
size_t nccl4jEmuMisuses(uint64_t from, nccl4jEmuMisuse_t* records, size_t capacity);

/* ---- what is alive ---- */

typedef struct {
    uint64_t device_allocations;
    uint64_t device_bytes;
    uint64_t peak_device_bytes;
    uint64_t pinned_allocations;
    uint64_t pinned_bytes;
    uint64_t streams;
    uint64_t events;
    uint64_t graphs;
    uint64_t graph_execs;
    uint64_t communicators;
    uint64_t windows;
    uint64_t groups;
    uint64_t handles;
    uint64_t host_waits;  /* times a calling thread waited for device work, since the load of the library */
} nccl4jEmuUsage_t;

/* device -1 = all devices of this process. */
int nccl4jEmuUsage(int device, nccl4jEmuUsage_t* usage);
/*
 * Declares host memory that the emulator did not allocate as memory of a device, as if a pool of the program's had mapped it
 * there: device work may touch it from now on. It stays the caller's, who withdraws it before it goes; cudaDeviceReset
 * withdraws it, too. NCCL4J_EMU_BAD_VALUE: no such device, bytes that cannot be read, that overlap memory which is known
 * already, or that are more than the device has left; no declared memory begins at the address.
 */
int nccl4jEmuDeclareMemory(void* address, size_t bytes, int device);
int nccl4jEmuWithdrawMemory(void* address);
/* What is or was at an address: the allocation, its age, who freed it. */
int nccl4jEmuDescribeAddress(const void* address, char* text, size_t capacity);
/* Number of the emulated host that the device is in, from 0; see the option host_devices. */
int nccl4jEmuHostOf(int device, int* host);
/* The text of the device's sticky error, empty if it has none. */
int nccl4jEmuErrorText(int device, char* text, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif
