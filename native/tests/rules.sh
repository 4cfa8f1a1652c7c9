#!/bin/sh
# Compares the table of rules with the tests there are: rules.sh <test program> <table>
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
export LC_ALL=C

"$1" --gtest_list_tests | awk '/^[^ ].*\.$/ {suite = $1; sub(/.*\//, "", suite)} /^  / {name = $1; sub(/\/.*/, "", name); print suite name}' | sort -u > "$here/tests"
grep -o '`[A-Za-z0-9]*\.[A-Za-z0-9]*`' "$2" | tr -d '`' | sort -u > "$here/named"
grep -E '\.[SABCGHNORT][0-9]+[A-Z]' "$here/tests" > "$here/ruled"

{
  echo 0 2
  seq -f '1.%g' 1 7; seq -f '2.%g' 1 12; seq -f '3.%g' 1 10; seq -f '4.%g' 1 7
  seq -f '5.%g' 1 4; seq -f '5.5.%g' 1 5; seq -f '5.%g' 6 10; seq -f '5.7.%g' 1 4; seq -f '6.%g' 1 5; seq -f '7.%g' 1 3
  seq -f 'C%g' 1 27
  seq -f 'A%g' 1 5; seq -f 'N%g' 1 3; echo R6 R10 R15 R16 H1 H3 O1; seq -f 'G%g' 1 5; seq -f 'T%g' 1 9
} | tr ' ' '\n' | sort -u > "$here/rules"
# A line counts if it names a test, or says behind a dash why there is none.
awk -F'|' '/^\| *[0-9ACGHNORT]/ && ($4 ~ /`/ || $4 ~ /^ - : [a-z]/) {gsub(/ /, "", $2); print $2}' "$2" | sort -u > "$here/lines"

failed=0
complain() {
  [ -s "$here/difference" ] || return 0
  echo "$1:" >&2
  sed 's/^/  /' "$here/difference" >&2
  failed=1
}
comm -23 "$here/named" "$here/tests" > "$here/difference"; complain "in the table, but not among the tests"
comm -23 "$here/ruled" "$here/named" > "$here/difference"; complain "named after a rule, but not in the table"
comm -3 "$here/rules" "$here/lines" > "$here/difference"; complain "rules without a line, or lines without a rule"
[ "$failed" = 0 ] && echo "$(wc -l < "$here/rules") rules, $(wc -l < "$here/named") tests named"
exit "$failed"
