# shellcheck shell=bash
# The one step that installs packages, with apt-get: all of them or none. Read by prerequisites.sh.

as_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=60 "$@"
}

installed() {
    # shellcheck disable=SC2016 # dpkg's own variables
    dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package}\n' | sed -n 's/^.i  *//p' | sort
}

# Packages that dpkg has begun to install and not ended.
unfinished() {
    # shellcheck disable=SC2016
    dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package}\n' | sed -n 's/^.[HUFWt].* //p' | sort
}

# Ends what dpkg was stopped at; what cannot be ended and was not there before is removed.
repair() {
    local before=$1 new
    as_root dpkg --configure -a || true
    mapfile -t new < <(comm -23 <(unfinished) <(echo "$before"))
    [[ ${#new[@]} == 0 ]] || as_root dpkg --purge --force-depends --force-remove-reinstreq "${new[@]}" || true
}

# dpkg says the cause below its error; that a package cannot be located comes of lists that could not be fetched.
apt_failed() {
    local why
    why=$({
        sed -n '/^dpkg: error/ {n; s/^ */E: /p; q;}' "$1"
        grep '^E: ' "$1" | grep -v 'Unable to locate'
        grep '^W: Failed to fetch' "$1"
        grep '^E: ' "$1"
    } | head -n 1 | cut -c 4-) || true
    refuse "apt-get failed: ${why:-no reason given} (its output: $1)"
}

# Arguments: the tools, as prerequisites.sh names them.
install_with_apt() {
    local folder tool name packages=() log before
    [[ $(id -u) == 0 ]] || { command -v sudo > /dev/null && sudo -n true 2> /dev/null; } ||
        refuse 'installing takes root, or sudo without a password'
    for folder in /usr /etc /var/lib/dpkg /var/cache/apt; do
        as_root test -w "$folder" || refuse "apt-get would fail: $folder cannot be written"
    done
    log=$(mktemp "${TMPDIR:-/tmp}/ep-apt.XXXXXX")
    # A list that cannot be had need not matter: if it does, the download fails.
    with_progress 'reading the lists of packages (apt-get update)' "$log" apt update || true
    for tool in "$@"; do
        name=$(package "$tool")
        [[ -n $name ]] || { rm -f "$log" && refuse; }
        packages+=("$name")
    done
    # In two steps, as most failures are those of a network, and must not find a system half changed.
    with_progress "installing with apt-get: ${packages[*]} (--no-install refuses)" "$log" \
        apt install --no-install-recommends --download-only "${packages[@]}" || apt_failed "$log"
    before=$(installed)
    if ! with_progress 'unpacking and configuring' "$log" \
        apt install --no-install-recommends --no-download "${packages[@]}"; then
        repair "$before" > "$log.repair" 2>&1
        apt_failed "$log"
    fi
    rm -f "$log"
}
