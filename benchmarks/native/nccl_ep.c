/* NCCL EP without the work: the calls made per step check size and magic of each struct and return. */
#include "stub.h"

static int refused(const void* given, uint32_t size) {
    const struct header* header = given;
    return header == NULL || header->size < size || header->magic != EP_MAGIC;
}

static int refused_if_given(const void* given, uint32_t size) {
    return given != NULL && refused(given, size);
}

static int refused_tensor(const void* given) {
    const struct header* header = given;
    return header == NULL || header->size < TENSOR_SIZE ||
           (header->magic != TENSOR_MAGIC && header->magic != ALLOCATED_TENSOR_MAGIC);
}

EXPORT int ncclEpUpdateHandle(void* handle, const void* topk_idx, const void* layout_info, void* stream) {
    (void)stream;
    return handle == NULL || refused_tensor(topk_idx) || refused_if_given(layout_info, LAYOUT_INFO_SIZE)
               ? NCCL_INVALID_ARGUMENT
               : SUCCESS;
}

EXPORT int ncclEpDispatch(void* handle, const void* inputs, const void* outputs, const void* layout_info,
                          const void* config, void* stream) {
    (void)stream;
    return handle == NULL || refused(inputs, DISPATCH_INPUTS_SIZE) || refused(outputs, DISPATCH_OUTPUTS_SIZE) ||
                   refused_if_given(layout_info, LAYOUT_INFO_SIZE) || refused_if_given(config, DISPATCH_CONFIG_SIZE)
               ? NCCL_INVALID_ARGUMENT
               : SUCCESS;
}

EXPORT int ncclEpCombine(void* handle, const void* inputs, const void* outputs, const void* config, void* stream) {
    (void)stream;
    return handle == NULL || refused(inputs, COMBINE_INPUTS_SIZE) || refused(outputs, COMBINE_OUTPUTS_SIZE) ||
                   refused_if_given(config, COMBINE_CONFIG_SIZE)
               ? NCCL_INVALID_ARGUMENT
               : SUCCESS;
}

EXPORT int ncclEpComplete(void* handle, const void* config, void* stream) {
    (void)stream;
    return handle == NULL || refused_if_given(config, COMPLETE_CONFIG_SIZE) ? NCCL_INVALID_ARGUMENT : SUCCESS;
}

EXPORT int ncclEpGetVersion(int* version) {
    *version = 100;
    return SUCCESS;
}

EXPORT int ncclEpCreateGroup(void** group, void* comm, const void* config) {
    if (comm == NULL || refused(config, GROUP_CONFIG_SIZE)) {
        return NCCL_INVALID_ARGUMENT;
    }
    return make_object(group, NCCL_SYSTEM_ERROR);
}

EXPORT int ncclEpGroupDestroy(void* group) {
    free(group);
    return SUCCESS;
}

EXPORT int ncclEpHandleMemSize(void* group, int layout, const void* config, size_t* size, int num_topk) {
    (void)group, (void)layout, (void)config, (void)num_topk;
    *size = 4096;
    return SUCCESS;
}

EXPORT int ncclEpInitHandle(void** handle, void* group, int layout, const void* config, int num_topk,
                            const void* handle_mem) {
    (void)group, (void)layout, (void)config, (void)num_topk, (void)handle_mem;
    return make_object(handle, NCCL_SYSTEM_ERROR);
}

EXPORT int ncclEpCreateHandle(void** handle, void* group, int layout, const void* topk_idx, const void* layout_info,
                              const void* config, void* stream) {
    (void)group, (void)layout, (void)config;
    int status = make_object(handle, NCCL_SYSTEM_ERROR);
    return status != SUCCESS ? status : ncclEpUpdateHandle(*handle, topk_idx, layout_info, stream);
}

EXPORT int ncclEpHandleDestroy(void* handle) {
    free(handle);
    return SUCCESS;
}

/* Descriptors of the newer generation: destroying one whose size is wrong is refused, which is how callers tell. */
EXPORT int ncclEpTensorAlloc(void** tensor, unsigned ndim, int datatype, const size_t* sizes, const void* config) {
    (void)ndim, (void)datatype, (void)sizes, (void)config;
    struct header* header = calloc(1, TENSOR_SIZE);
    if (header == NULL) {
        return NCCL_SYSTEM_ERROR;
    }
    header->size = TENSOR_SIZE;
    header->magic = ALLOCATED_TENSOR_MAGIC;
    *tensor = header;
    return SUCCESS;
}

EXPORT int ncclEpTensorDestroy(void* tensor) {
    const struct header* header = tensor;
    if (header != NULL && (header->size < TENSOR_SIZE || header->magic != ALLOCATED_TENSOR_MAGIC)) {
        return NCCL_INVALID_ARGUMENT;
    }
    free(tensor);
    return SUCCESS;
}
