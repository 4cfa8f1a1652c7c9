#!/usr/bin/env bash
# Tells what differs between newer headers and those that bindings/java was made from: a list for a human to look at.
# Takes the same variables as regenerate.sh, which name the newer headers:
#   JEXTRACT=... CUDA_INCLUDE=... NCCL_INCLUDE=... NCCL_EP_INCLUDE=... DLPACK_INCLUDE=... bindings/compare.sh
# Ends with 0 if nothing differs, 1 if something does, 2 if the headers cannot be read.
set -euo pipefail
: "${JEXTRACT:?launcher of jextract}" "${CUDA_INCLUDE:?folder of cuda_runtime_api.h}"
: "${NCCL_INCLUDE:?folder of nccl.h}" "${NCCL_EP_INCLUDE:?folder of nccl_ep.h}"
: "${DLPACK_INCLUDE:?folder of dlpack/dlpack.h}"
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LC_ALL=C.UTF-8
ours=$here/java/io/nccl4j/bindings
newer=$work/java/io/nccl4j/bindings
report=$work/report.txt
: >"$report"

say() { # what, lines on standard input
  local lines
  lines=$(cat)
  [[ -n $lines ]] || return 0
  printf '%s\n' "$1" >>"$report"
  printf '%s\n' "$lines" | sed 's/^/  /' >>"$report"
}

# ---- names that a header declares itself ----
mkdir -p "$work/include"
ln -s "$NCCL_EP_INCLUDE" "$work/include/nccl_ep"
cd "$work"
echo "-fno-knr-functions" >compile_flags.txt
names() { # header, what its own lines end with, include folders...
  local header=$1 own=$2
  shift 2
  local includes=()
  for folder in "$@"; do includes+=(-I "$folder"); done
  rm -f names.txt
  "$JEXTRACT" "${includes[@]}" --dump-includes names.txt "$header" 2>jextract.log || { cat jextract.log >&2; exit 2; }
  awk -v own="$own" '$1 ~ /^--include-/ && index($0, own) {print $1, $2}' names.txt | sort -u
}
names "$NCCL_EP_INCLUDE/nccl_ep.h" "nccl_ep" "$work/include" "$NCCL_INCLUDE" "$CUDA_INCLUDE" >ep-names.txt
names "$NCCL_INCLUDE/nccl.h" "$NCCL_INCLUDE/nccl.h" "$NCCL_INCLUDE" "$CUDA_INCLUDE" >nccl-names.txt
sort -u "$here/ncclep.includes" >ep-known.txt
sort -u "$here/nccl.includes" >nccl-known.txt
comm -13 ep-known.txt ep-names.txt | say "NCCL EP declares, and the bindings do not have (add to ncclep.includes what is of use):"
comm -23 ep-known.txt ep-names.txt | say "NCCL EP no longer declares (calls of it would fail at run time):"
# Of NCCL only what is called is bound: new names are of no concern.
comm -23 nccl-known.txt nccl-names.txt | grep -v -F -x -f <(grep -E 'Properties|GIN_TYPE|GinType' nccl-known.txt) |
  say "NCCL no longer declares in nccl.h:" || true

# ---- what the bound names have become ----
"$here/regenerate.sh" "$work/java" >regenerate.log 2>&1 || { cat regenerate.log >&2; exit 2; }
# A line for each fact: a constant's value, a function's types, a struct's field with its place.
facts() { # folder
  (cd "$1" && grep -hoE '(static final (int|long|short|byte) [A-Za-z_0-9]+ = .*;|FunctionDescriptor\.of[A-Za-z]*\(|'`
      `'^ +(int|long|short|byte|float|double|boolean|MemorySegment) [a-z_A-Z0-9]+\(|withName\("[^$][^"]*"\)|'`
      `'\* (enum|#define|struct|typedef)?.*[;)]$)' ./*.java | sed -E 's/^ +//' | sort -u)
}
for set in nccl ncclep; do
  facts "$ours/$set" >"$work/ours.txt"
  facts "$newer/$set" >"$work/newer.txt"
  comm -13 "$work/ours.txt" "$work/newer.txt" | say "$set: new or changed (structs: is the longer size passed only to a library that has it?):"
  comm -23 "$work/ours.txt" "$work/newer.txt" | say "$set: gone or changed:"
  for struct in "$newer/$set"/*.java; do
    name=$(basename "$struct")
    [[ -e $ours/$set/$name ]] || continue
    diff <(grep -oE 'withName\("[^$"]+"\)|paddingLayout\([0-9]+\)' "$ours/$set/$name") \
      <(grep -oE 'withName\("[^$"]+"\)|paddingLayout\([0-9]+\)' "$struct") | grep '^[<>]' |
      say "$set: order or padding of ${name%.java}:" || true
  done
done

if [[ ! -s $report ]]; then
  echo "nothing differs"
  exit 0
fi
cat "$report"
cat <<'TEXT'
What to look at by hand:
  - new fields of structs: size, whether zero means "as before", which release has them; EpGeneration, GroupStruct
  - new values of enumerations: the enums in Java are written by hand, EnumsTest compares them
  - versions and sizes (NCCL_EP_VERSION_CODE, *_SIZE): EpGeneration, the emulator's option api
  - comments of the header that state rules: the semantics are not in the types
Then regenerate.sh, and record the headers' SHA-256 in README.md.
TEXT
exit 1
