#!/bin/sh
# Prints the real path of a Python that can build the environment: the one named as $1, else the first fit one in PATH.
# An unfit or missing one is one line on stderr and exit status 2, with all else that this system lacks and the command
# that brings it. This is shell because there may be no Python to run.
# Candidates are executed, not just looked up: version managers put shims in PATH for versions that are not active.
# -I: the caller's PYTHONPATH, PYTHONHOME and packages at home are none of the probe's.

probe='
import os, sys, sysconfig
version = "%d.%d" % sys.version_info[:2]
def no(reason, status=3):
    print(reason); sys.exit(status)
if not (3, 11) <= sys.version_info[:2] < (3, 14):
    no("is Python %s, and the TFX packages need 3.11, 3.12 or 3.13" % version)
if sys.implementation.name != "cpython":
    no("is %s, and the TFX packages need CPython" % sys.implementation.name)
if sys.maxsize < 2**32:
    no("is a 32-bit Python, and the TFX packages need a 64-bit one")
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    no("is a free-threaded Python, for which the TFX packages have no wheels")
if sys.platform == "darwin" and os.uname()[4] != "arm64":
    no("is a Python for Intel, and the TFX packages need one for Apple silicon")
try:
    import ensurepip, venv
except ImportError:
    header = os.path.isfile(os.path.join(sysconfig.get_path("include") or "", "Python.h"))
    print(version, "" if header else "headers"); sys.exit(4)
print(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
'
here=${0%/*}
named=$1
reason= version= lacking=
unset __PYVENV_LAUNCHER__

unfit=$(sh "$here/host.sh" unfit)
if [ -n "$unfit" ]; then
    printf 'setup: %s.\n' "$unfit" >&2
    exit 2
fi
if [ -n "$named" ]; then
    set -- "$named"
    where=
else
    where=" in PATH"
    set -- python3.11 python3.12 python3.13 python3
fi
for candidate; do
    answer=$("$candidate" -I -c "$probe" 2>/dev/null)
    case $? in
        0) printf '%s\n' "$answer"; exit 0 ;;
        3) reason="$reason $candidate $answer;" ;;
        4)
            reason="$reason $candidate has no venv module;"
            # The first of them is the one to complete.
            [ -n "$version" ] || { version=${answer%% *} lacking="venv ${answer#* }"; }
            ;;
        *) [ -z "$named" ] || reason=" $candidate is not a Python that runs;" ;;
    esac
done
reason=${reason:- there is none;}
if [ -n "$named" ] && [ -z "$version" ]; then
    printf 'setup:%s name another one with PYTHON=/path/to/python3.11\n' "$reason" >&2
    exit 2
fi
compiler=compiler
for candidate in c++ g++ clang++; do
    ! command -v "$candidate" >/dev/null 2>&1 || compiler=
done
[ -z "$compiler" ] || reason="$reason there is no C++ compiler;"
# shellcheck disable=SC2086  # words
install=$(sh "$here/host.sh" install "$version" ${lacking:-python headers} $compiler)
printf 'setup: no fit Python%s:%s run: %s (or name a Python 3.11 to 3.13 with PYTHON=/path/to/python3)\n' \
    "$where" "$reason" "$install" >&2
exit 2
