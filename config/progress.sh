# shellcheck shell=bash
# Shows that a long command is alive. Read by ep.

# Until its input ends: the seconds and the last line of a log; on a terminal in a line that is rewritten, elsewhere
# every 15 seconds.
pulse() {
    local what=$1 log=$2 start=$SECONDS line
    while true; do
        # Above 128: nothing came within the second.
        if read -r -t 1 _; then
            continue
        elif (($? <= 128)); then
            break
        fi
        line="ep: $what, $((SECONDS - start)) s: $(tail -n 1 "$log" | sed 's/^\[INFO\] *//')"
        if [[ -t 2 ]]; then
            printf '\r\033[K%s' "${line:0:$((${COLUMNS:-80} - 1))}" >&2
        elif (((SECONDS - start) % 15 == 0)); then
            printf '%s\n' "${line:0:160}" >&2
        fi
    done
    [[ ! -t 2 ]] || printf '\r\033[K' >&2
}

# Runs a command with its output appended to a file. Arguments: the text for it, the file, the command.
with_progress() {
    local what=$1 log=$2
    shift 2
    echo "ep: $what" >&2
    # The pipe carries nothing; it ends when the command does, however that happens.
    { "$@" >> "$log" 2>&1 < /dev/null || exit; } | pulse "${what%% (*}" "$log"
}
