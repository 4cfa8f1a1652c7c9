/* As much of NCCL as creating a group of one rank takes. */
#include <stdbool.h>
#include <string.h>

#include "stub.h"

struct communicator {
    int ranks;
    int rank;
};

struct unique_id {
    char bytes[128];
};

struct properties {
    size_t size;
    uint32_t magic;
    uint32_t version;
    int rank;
    int ranks;
    int device;
    int nvml_device;
    bool device_calls;
    bool multimem;
    int gin_type;
    int lsa_teams;
    bool host_rma;
    int railed_gin_type;
};

struct window {
    void* memory;
};

EXPORT int ncclGetVersion(int* version) {
    *version = 23007;
    return SUCCESS;
}

EXPORT int ncclGetUniqueId(struct unique_id* id) {
    memset(id, 1, sizeof *id);
    return SUCCESS;
}

EXPORT const char* ncclGetErrorString(int result) {
    return result == SUCCESS ? "no error" : "an error";
}

EXPORT const char* ncclGetLastError(void* comm) {
    (void)comm;
    return "";
}

EXPORT int ncclCommInitRankScalable(struct communicator** comm, int ranks, int rank, int id_count, struct unique_id* ids,
                                    void* config) {
    (void)id_count, (void)ids, (void)config;
    *comm = malloc(sizeof **comm);
    if (*comm == NULL) {
        return NCCL_SYSTEM_ERROR;
    }
    (*comm)->ranks = ranks;
    (*comm)->rank = rank;
    return SUCCESS;
}

EXPORT int ncclCommInitRank(struct communicator** comm, int ranks, struct unique_id id, int rank) {
    return ncclCommInitRankScalable(comm, ranks, rank, 1, &id, NULL);
}

EXPORT int ncclCommCount(const struct communicator* comm, int* count) {
    *count = comm->ranks;
    return SUCCESS;
}

EXPORT int ncclCommUserRank(const struct communicator* comm, int* rank) {
    *rank = comm->rank;
    return SUCCESS;
}

EXPORT int ncclCommCuDevice(const struct communicator* comm, int* device) {
    (void)comm;
    *device = 0;
    return SUCCESS;
}

EXPORT int ncclCommQueryProperties(const struct communicator* comm, struct properties* out) {
    out->rank = comm->rank;
    out->ranks = comm->ranks;
    out->device = 0;
    out->nvml_device = 0;
    out->device_calls = true;
    out->multimem = false;
    out->gin_type = 0;
    out->lsa_teams = 1;
    out->host_rma = false;
    out->railed_gin_type = 0;
    return SUCCESS;
}

EXPORT int ncclCommGetAsyncError(const struct communicator* comm, int* error) {
    (void)comm;
    *error = SUCCESS;
    return SUCCESS;
}

EXPORT int ncclCommFinalize(struct communicator* comm) {
    (void)comm;
    return SUCCESS;
}

EXPORT int ncclCommDestroy(struct communicator* comm) {
    free(comm);
    return SUCCESS;
}

EXPORT int ncclCommAbort(struct communicator* comm) {
    free(comm);
    return SUCCESS;
}

EXPORT int ncclMemAlloc(void** memory, size_t size) {
    *memory = calloc(1, size);
    return *memory == NULL ? NCCL_SYSTEM_ERROR : SUCCESS;
}

EXPORT int ncclMemFree(void* memory) {
    free(memory);
    return SUCCESS;
}

EXPORT int ncclCommWindowRegister(struct communicator* comm, void* memory, size_t size, struct window** window, int flags) {
    (void)comm, (void)size, (void)flags;
    *window = malloc(sizeof **window);
    if (*window == NULL) {
        return NCCL_SYSTEM_ERROR;
    }
    (*window)->memory = memory;
    return SUCCESS;
}

EXPORT int ncclCommWindowDeregister(struct communicator* comm, struct window* window) {
    (void)comm;
    free(window);
    return SUCCESS;
}

EXPORT int ncclWinGetUserPtr(struct communicator* comm, struct window* window, void** memory) {
    (void)comm;
    *memory = window->memory;
    return SUCCESS;
}

/* One rank: a collective copies its input, if anything. */
EXPORT int ncclAllGather(const void* from, void* to, size_t count, int type, struct communicator* comm, void* stream) {
    static const size_t sizes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
    (void)comm, (void)stream;
    if (type < 0 || (size_t)type >= sizeof sizes / sizeof sizes[0]) {
        return NCCL_INVALID_ARGUMENT;
    }
    memmove(to, from, count * sizes[type]);
    return SUCCESS;
}
