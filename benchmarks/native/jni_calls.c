/*
 * The dispatch call over JNI. Declared without jni.h, whose types are these: the calls use nothing else of it.
 */
#include <string.h>

#include "stub.h"

static int (*volatile dispatch)(void*, const void*, const void*, const void*, const void*, void*);

/* boolean link(long symbol): takes the address of ncclEpDispatch. */
EXPORT uint8_t Java_io_nccl4j_benchmarks_jmh_JniCalls_link(void* env, void* type, int64_t symbol) {
    (void)env, (void)type;
    void* address = (void*)(intptr_t)symbol;
    memcpy((void*)&dispatch, &address, sizeof address);
    return dispatch != NULL;
}

EXPORT int32_t Java_io_nccl4j_benchmarks_jmh_JniCalls_dispatch(void* env, void* type, int64_t handle, int64_t inputs,
                                                               int64_t outputs, int64_t layout_info, int64_t config,
                                                               int64_t stream) {
    (void)env, (void)type;
    return dispatch((void*)(intptr_t)handle, (const void*)(intptr_t)inputs, (const void*)(intptr_t)outputs,
                    (const void*)(intptr_t)layout_info, (const void*)(intptr_t)config, (void*)(intptr_t)stream);
}
