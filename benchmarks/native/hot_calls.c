/*
 * The calls made per step, from C: nanoseconds per call (or sequence of calls) through pointers from dlsym, which the compiler cannot see through.
 *
 *   hot_calls FOLDER [SECONDS]
 *
 * FOLDER holds the benchmark libraries. Prints "name nanoseconds" per call, of the fastest of several rounds: a disturbance only makes a round slower.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "stub.h"

enum { ROUNDS = 15, MAX_STRUCT = 128 };

static void* library(const char* folder, const char* name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    void* handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return handle;
}

/* dlsym returns a data pointer; ISO C knows no cast to a function pointer. */
#define FUNCTION(target, handle, name)                       \
    do {                                                     \
        void* symbol = dlsym(handle, name);                  \
        if (symbol == NULL) {                                \
            fprintf(stderr, "%s is missing\n", name);        \
            exit(1);                                         \
        }                                                    \
        memcpy((void*)&(target), &symbol, sizeof symbol);    \
    } while (0)

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static double round_seconds = 0.2;

/* Measures CALL, an expression that is 0 on success. */
#define MEASURE(name, call)                                                      \
    do {                                                                         \
        double fastest = HUGE_VAL;                                               \
        long calls = 1000;                                                       \
        int failures = 0;                                                        \
        for (int r = -2; r < ROUNDS; r++) {                                      \
            double start = now_ns();                                             \
            for (long i = 0; i < calls; i++) {                                   \
                failures |= (call);                                              \
            }                                                                    \
            double each = (now_ns() - start) / (double)calls;                    \
            if (r >= 0) {                                                        \
                fastest = each < fastest ? each : fastest;                       \
            } else {                                                             \
                calls = (long)(round_seconds * 1e9 / (each > 0.1 ? each : 0.1)); \
            }                                                                    \
        }                                                                        \
        if (failures != 0) {                                                     \
            fprintf(stderr, "%s failed: %d\n", name, failures);                  \
            exit(1);                                                             \
        }                                                                        \
        printf("%s %.3f\n", name, fastest);                                      \
    } while (0)

static void* make_struct(uint32_t size, uint32_t magic) {
    static union {
        struct header header;
        max_align_t aligned;
        char bytes[MAX_STRUCT];
    } structs[16];
    static size_t used;
    structs[used].header.size = size;
    structs[used].header.magic = magic;
    return &structs[used++];
}

int main(int argc, char** argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s FOLDER [SECONDS]\n", argv[0]);
        return 2;
    }
    if (argc > 2) {
        round_seconds = strtod(argv[2], NULL) / ROUNDS;
    }
    void* cudart = library(argv[1], "libcudart.so.13");
    void* ep = library(argv[1], "libnccl_ep.so.0");

    int (*volatile update)(void*, const void*, const void*, void*);
    int (*volatile dispatch)(void*, const void*, const void*, const void*, const void*, void*);
    int (*volatile combine)(void*, const void*, const void*, const void*, void*);
    int (*volatile complete)(void*, const void*, void*);
    int (*volatile launch)(void*, void*);
    FUNCTION(update, ep, "ncclEpUpdateHandle");
    FUNCTION(dispatch, ep, "ncclEpDispatch");
    FUNCTION(combine, ep, "ncclEpCombine");
    FUNCTION(complete, ep, "ncclEpComplete");
    FUNCTION(launch, cudart, "cudaGraphLaunch");

    void* object = malloc(64);
    void* topk = make_struct(TENSOR_SIZE, TENSOR_MAGIC);
    void* layout = make_struct(LAYOUT_INFO_SIZE, EP_MAGIC);
    void* dispatch_inputs = make_struct(DISPATCH_INPUTS_SIZE, EP_MAGIC);
    void* dispatch_outputs = make_struct(DISPATCH_OUTPUTS_SIZE, EP_MAGIC);
    void* dispatch_config = make_struct(DISPATCH_CONFIG_SIZE, EP_MAGIC);
    void* combine_inputs = make_struct(COMBINE_INPUTS_SIZE, EP_MAGIC);
    void* combine_outputs = make_struct(COMBINE_OUTPUTS_SIZE, EP_MAGIC);

    /* As the public API calls them for a low-latency group. */
    MEASURE("update", update(object, topk, NULL, object));
    MEASURE("dispatch", dispatch(object, dispatch_inputs, dispatch_outputs, layout, NULL, object));
    MEASURE("combine", combine(object, combine_inputs, combine_outputs, NULL, object));
    MEASURE("staged", dispatch(object, dispatch_inputs, dispatch_outputs, layout, dispatch_config, object) |
                          complete(object, NULL, object));
    MEASURE("async", update(object, topk, NULL, object) |
                         dispatch(object, dispatch_inputs, dispatch_outputs, layout, NULL, object) |
                         combine(object, combine_inputs, combine_outputs, NULL, object));
    MEASURE("launch", launch(object, object));
    free(object);
    return 0;
}
