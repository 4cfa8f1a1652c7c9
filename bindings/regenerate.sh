#!/usr/bin/env bash
# Regenerates bindings/java with jextract. Needs the folders of the headers:
#   JEXTRACT=<jextract launcher> CUDA_INCLUDE=<folder of cuda_runtime_api.h> NCCL_INCLUDE=<folder of nccl.h>
#   NCCL_EP_INCLUDE=<folder of nccl_ep.h> DLPACK_INCLUDE=<folder of dlpack/dlpack.h>
#   bindings/regenerate.sh [target folder, default bindings/java]
# The same headers and jextract give the same bytes; README.md in this folder records both.
set -euo pipefail
: "${JEXTRACT:?launcher of jextract}" "${CUDA_INCLUDE:?folder of cuda_runtime_api.h}"
: "${NCCL_INCLUDE:?folder of nccl.h}" "${NCCL_EP_INCLUDE:?folder of nccl_ep.h}"
: "${DLPACK_INCLUDE:?folder of dlpack/dlpack.h}"
here=$(cd "$(dirname "$0")" && pwd)
target=${1:-$here/java}
mkdir -p "$target"
target=$(cd "$target" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The output must not depend on who runs this: a fixed locale, no search paths from the environment.
export LC_ALL=C.UTF-8 JEXTRACT_JAVA_OPTIONS="-Duser.language=en -Duser.country=US"
unset CPATH C_INCLUDE_PATH CPLUS_INCLUDE_PATH OBJC_INCLUDE_PATH

# ncclGroupStart() and ncclGroupEnd() have no prototype; without this flag they become variadic invokers.
echo "-fno-knr-functions" >"$work/compile_flags.txt"
# nccl_ep.h names its enum header by folder, so it is reached through one of that name.
mkdir -p "$work/include"
ln -s "$NCCL_EP_INCLUDE" "$work/include/nccl_ep"
cd "$work"

generate() { # set, class, header, include folders...
  local set=$1 class=$2 header=$3
  shift 3
  local includes=()
  for folder in "$@"; do includes+=(-I "$folder"); done
  rm -rf "$target/io/nccl4j/bindings/$set"
  "$JEXTRACT" "${includes[@]}" --output "$target" --target-package "io.nccl4j.bindings.$set" \
    --header-class-name "$class" --symbols-class-name "${class}Symbols" "@$here/$set.includes" "$header"
}

# cuda_runtime_api.h lacks the profiler calls, so one file names both.
printf '#include <cuda_runtime_api.h>\n#include <cuda_profiler_api.h>\n' >"$work/cudart.h"
generate cudart CudaRuntime "$work/cudart.h" "$CUDA_INCLUDE"
# The properties of a communicator are declared in a header of NCCL's device interface, which does not include what it needs.
printf '#include <cuda_runtime_api.h>\n#include <stdbool.h>\n#include <nccl.h>\n#include <nccl_device/core.h>\n' >"$work/nccl.h"
generate nccl Nccl "$work/nccl.h" "$NCCL_INCLUDE" "$CUDA_INCLUDE"
generate ncclep NcclEp "$NCCL_EP_INCLUDE/nccl_ep.h" "$work/include" "$NCCL_INCLUDE" "$CUDA_INCLUDE"
generate dlpack Dlpack "$DLPACK_INCLUDE/dlpack/dlpack.h" "$DLPACK_INCLUDE"
generate emulator EmulatorControl "$here/../native/include/nccl4j_emulator.h" "$here/../native/include"

# jextract ends each file with an empty line; git would complain about it.
find "$target" -name '*.java' -exec sed -i -e :a -e '/^\n*$/{$d;N;ba' -e '}' {} +
