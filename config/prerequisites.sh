# shellcheck shell=bash
# What the build needs of the system: finds it, installs it, or says how to. ep reads this file. Maven and make, which
# must not install anything, run it: `bash config/prerequisites.sh` checks what the native tests need.

die() {
    echo "ep: $*" >&2
    exit 3
}

# Prints the major version of the JDK in a folder, or nothing. Reads a file rather than starting a JVM.
jdk_version() {
    [[ -x $1/bin/javac && -r $1/release ]] || return 0
    sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$1/release"
}

jdk_candidates() {
    local java
    printf '%s\n' "${JAVA_HOME:-}"
    for java in "$(command -v javac || true)" "$(command -v java || true)"; do
        [[ -z $java ]] || dirname "$(dirname "$(readlink -f "$java")")"
    done
    if [[ -r ${HOME:-}/.m2/toolchains.xml ]]; then
        sed -n 's:.*<jdkHome>\(.*\)</jdkHome>.*:\1:p' "$HOME/.m2/toolchains.xml"
    fi
    printf '%s\n' /usr/lib/jvm/* /usr/java/* /opt/java/* /opt/jdk* /usr/local/openjdk-* \
        /Library/Java/JavaVirtualMachines/*/Contents/Home /opt/homebrew/opt/openjdk*/libexec/openjdk.jdk/Contents/Home \
        "${HOME:-}"/.sdkman/candidates/java/* "${HOME:-}"/.jdks/* "${HOME:-}"/.asdf/installs/java/* \
        "${HOME:-}"/.local/share/mise/installs/java/* "${HOME:-}"/.gradle/jdks/*
}

find_jdk() {
    local folder version
    while IFS= read -r folder; do
        version=$(jdk_version "$folder")
        if [[ -n $version && $version -ge 25 ]]; then
            echo "$folder"
            return
        fi
    done < <(jdk_candidates)
}

compiler() {
    # CXX may be two words, such as "ccache g++".
    # shellcheck disable=SC2086
    ${CXX:-g++} "$@" 2> /dev/null
}

has() {
    case $1 in
        JDK) [[ -n $(find_jdk) ]] ;;
        Maven) command -v mvn > /dev/null ;;
        g++) compiler --version > /dev/null ;;
        make) command -v make > /dev/null ;;
        binutils) command -v objdump > /dev/null ;;
        GoogleTest)
            compiler -E -include gtest/gtest.h -x c++ /dev/null > /dev/null &&
                compiler -x c++ - -lgtest_main -lgtest -pthread -o /dev/null <<< 'int main() {}'
            ;;
    esac
}

# Fills `missing` with those of its arguments that the system lacks.
look_for() {
    local tool
    missing=()
    for tool in "$@"; do
        has "$tool" || missing+=("$tool")
    done
}

package_manager() {
    local command
    for command in apt-get dnf brew; do
        if command -v "$command" > /dev/null; then
            echo "$command"
            return
        fi
    done
    [[ $(uname -s) != Darwin ]] || echo brew
}

# Prints the name of a tool's package; nothing where the system has none.
package() {
    case $(package_manager)/$1 in
        apt-get/JDK)
            ! apt-cache show openjdk-25-jdk-headless 2> /dev/null | grep -q '^Package:' || echo openjdk-25-jdk-headless
            ;;
        dnf/JDK) echo java-25-openjdk-devel ;;
        brew/JDK) echo openjdk@25 ;;
        */JDK) ;;
        */Maven) echo maven ;;
        apt-get/GoogleTest) echo libgtest-dev ;;
        dnf/GoogleTest) echo gtest-devel ;;
        */GoogleTest) echo googletest ;;
        dnf/g++) echo gcc-c++ ;;
        *) echo "$1" ;;
    esac
}

# Says in one line what to do about `missing` on this system, and ends.
refuse() {
    local tool name jdk='' steps=() packages=() text sudo='sudo '
    [[ $(id -u) != 0 ]] || sudo=''
    for tool in "${missing[@]}"; do
        name=$(package "$tool")
        if [[ $(package_manager) == brew && ($tool == g++ || $tool == make) ]]; then
            [[ ${#steps[@]} != 0 ]] || steps+=('xcode-select --install')
        elif [[ -n $name ]]; then
            packages+=("$name")
        fi
        if [[ $tool == JDK && $name != openjdk* ]]; then
            jdk="${name:+where there is no $name }unpack a JDK 25 as /opt/jdk-25, or set JAVA_HOME to one"
            [[ -n $name ]] || jdk+=', as this system knows no package of it'
            jdk+=' (https://adoptium.net/temurin/releases/?version=25)'
        fi
    done
    if [[ ${#packages[@]} != 0 ]]; then
        case $(package_manager) in
            apt-get | dnf) steps+=("$sudo$(package_manager) install ${packages[*]}") ;;
            brew) steps+=("brew install ${packages[*]}") ;;
            *) steps+=("install ${packages[*]} with the system's package manager") ;;
        esac
    fi
    [[ -z $jdk ]] || steps+=("$jdk")
    printf -v text ', %s' "${missing[@]/#JDK/JDK 25}"
    text="missing: ${text:2}${1:+; $1}. By hand: ${steps[0]}"
    steps=("${steps[@]:1}")
    [[ ${#steps[@]} == 0 ]] || text+=$(printf '; and %s' "${steps[@]}")
    die "$text"
}

# Sees to it that the tools are there. Arguments: whether installing is allowed, the tools.
require() {
    local may_install=$1
    shift
    look_for "$@"
    [[ ${#missing[@]} != 0 ]] || return 0
    [[ $may_install == true && $(package_manager) == apt-get ]] || refuse
    # shellcheck source=config/apt.sh
    source "$(dirname "${BASH_SOURCE[0]}")/apt.sh"
    install_with_apt "${missing[@]}"
    look_for "$@"
    [[ ${#missing[@]} == 0 ]] || refuse 'apt-get has installed what it knows'
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    set -euo pipefail
    require false g++ make binutils GoogleTest
fi
