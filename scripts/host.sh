#!/bin/sh
# What this system is to the set-up. Shell, as there may be no Python yet; for find_python.sh and setup_env.py.
#   sh scripts/host.sh unfit                  why the TFX packages can't be had on this system; nothing where they can
#   sh scripts/host.sh install 3.11 WHAT...   the one command that brings WHAT: python venv headers compiler make
# OS_RELEASE_FILE names another /etc/os-release, for tests.

os_release() { # the value of one of its fields
    sed -n "s/^$1=//p" "${OS_RELEASE_FILE:-/etc/os-release}" 2>/dev/null | tr -d "\"'" | head -n 1
}

unfit() {
    system=$(uname -s) machine=$(uname -m)
    case $system/$machine in
        Linux/x86_64) ;;
        Linux/aarch64 | Linux/arm64)
            echo "the TFX packages (tfx-bsl, TFDV, ml-metadata) have no wheels for Linux on arm64: use an x86-64 machine, or macOS on Apple silicon" ;;
        Darwin/arm64) ;;
        Darwin/*)
            # A shell under Rosetta says x86_64 too.
            [ "$(sysctl -n hw.optional.arm64 2>/dev/null)" = 1 ] ||
                echo "TensorFlow 2.21 and the TFX packages have no wheels for macOS on Intel: use Linux on x86-64, in a virtual machine too" ;;
        MINGW* | MSYS* | CYGWIN* | Windows*)
            echo "the TFX packages have no wheels for Windows: use WSL 2 with Ubuntu 24.04, and a copy inside its own file system" ;;
        *)
            echo "the TFX packages have no wheels for $system on $machine: use Linux on x86-64, or macOS on Apple silicon" ;;
    esac
    case " $(os_release ID) $(os_release ID_LIKE) " in
        *" alpine "*)
            echo "the TFX packages have no wheels for musl (Alpine): use a distribution with glibc, e.g. the image debian:13" ;;
    esac
}

apt_python() { # the newest fit Python that apt knows, python3 where it knows none (or has no lists yet)
    known=$(apt-cache pkgnames python3.1 2>/dev/null | sed -n 's/^python3\.\(1[123]\)$/\1/p' | sort -n | tail -n 1)
    echo "python3${known:+.$known}"
}

install() {
    version=$1
    shift
    for tool in apt-get dnf yum zypper pacman apk brew xcode-select none; do
        command -v "$tool" >/dev/null 2>&1 && break
    done
    [ "$(uname -s)" != Darwin ] || for tool in brew xcode-select; do
        command -v "$tool" >/dev/null 2>&1 && break
    done
    case $tool in
        apt-get) python=$([ -z "$version" ] && apt_python || echo "python$version") ;;
        zypper | brew | pacman | apk) python=python${version:-3.13} ;;
        *) python=python${version:-3.12} ;;
    esac
    list='' clt='' brew=''
    for what in "$@"; do
        case $tool:$what in
            apt-get:python) list="$list $python $python-venv" ;;
            apt-get:venv) list="$list $python-venv" ;;
            apt-get:headers) list="$list $python-dev" ;;
            apt-get:compiler) list="$list g++" ;;
            dnf:python | dnf:venv | yum:python | yum:venv) list="$list $python" ;;
            dnf:headers | yum:headers) list="$list $python-devel" ;;
            dnf:compiler | yum:compiler) list="$list gcc-c++" ;;
            # openSUSE's packages have no dot: python313.
            zypper:python | zypper:venv) list="$list $(echo "$python" | tr -d .)" ;;
            zypper:headers) list="$list $(echo "$python" | tr -d .)-devel" ;;
            zypper:compiler) list="$list gcc-c++" ;;
            pacman:python | pacman:venv | pacman:headers) list="$list python" ;; # one package with all three
            pacman:compiler) list="$list gcc" ;;
            apk:python | apk:venv) list="$list python3" ;;
            apk:headers) list="$list python3-dev" ;;
            apk:compiler) list="$list g++" ;;
            brew:python | brew:venv | brew:headers) list="$list $(echo "$python" | sed 's/python/python@/')" ;;
            # Apple's own Python is too old.
            xcode-select:python | xcode-select:venv) brew="install Python ${version:-3.13} from python.org" ;;
            brew:compiler | brew:make | xcode-select:*) clt="xcode-select --install" ;;
            *:make) list="$list make" ;;
        esac
    done
    list=$(printf '%s\n' $list | awk '!seen[$0]++' | tr '\n' ' ')
    list=${list% }
    root=
    [ "$(id -u)" = 0 ] || ! command -v sudo >/dev/null 2>&1 || root="sudo "
    case $tool in
        none) echo "no package manager that this script knows: install by hand: $*" ;;
        apt-get | dnf | yum | zypper) echo "$root$tool install $list" ;;
        pacman) echo "${root}pacman -S --needed $list" ;;
        apk) echo "${root}apk add $list" ;;
        *)
            [ -z "$list" ] || brew="brew install $list"
            echo "$clt${clt:+${brew:+ && }}$brew"
            ;;
    esac
}

case ${1:-} in
    unfit) unfit | head -n 1 ;;
    install) shift && install "$@" ;;
esac
