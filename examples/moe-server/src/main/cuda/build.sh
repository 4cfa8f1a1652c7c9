#!/usr/bin/env bash
# Compiles the kernels into a fatbin (sm_90 and PTX for what comes after) beside the classes, if there is an nvcc.
# No GPU is needed. Without it the jar compiles its kernels by NVRTC when it is started on a GPU.
set -euo pipefail
folder=$(cd "$(dirname "$0")" && pwd)
target=$1/io/nccl4j/examples/moe/kernels/moe.fatbin
nvcc=$(command -v nvcc || echo "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc")
if [[ ! -x $nvcc ]]; then
    echo "nvcc is missing: the jar will compile its kernels for GPUs at each start" >&2
    exit 0
fi
for source in "$folder"/*.cu "$folder"/*.cuh "$folder/build.sh"; do
    if [[ ! -e $target || $source -nt $target ]]; then
        mkdir -p "$(dirname "$target")"
        "$nvcc" -O3 -std=c++17 -fatbin -Werror all-warnings \
            -gencode arch=compute_90,code=sm_90 -gencode arch=compute_90,code=compute_90 \
            -o "$target.new" "$folder/moe.cu"
        mv "$target.new" "$target"
        break
    fi
done
