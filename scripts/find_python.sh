#!/bin/sh
# Prints the real path of a Python that can build the environment: the one named as $1, else the first fit one in PATH.
# An unfit or missing one is one line on stderr and exit status 2. This is shell because there may be no Python to run.
# Candidates are executed, not just looked up: version managers put shims in PATH for versions that are not active.

probe='
import os, sys
version = "%d.%d" % sys.version_info[:2]
if not (3, 11) <= sys.version_info[:2] < (3, 14):
    print("is Python %s, and the TFX packages need 3.11, 3.12 or 3.13" % version); sys.exit(3)
try:
    import ensurepip, venv
except ImportError:
    print("has no venv module: install it (Debian and Ubuntu: apt-get install python%s-venv)" % version); sys.exit(3)
print(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
'
named=$1
reason=
for candidate in ${named:-python3.11 python3.12 python3.13 python3}; do
    answer=$("$candidate" -c "$probe" 2>/dev/null)
    case $? in
        0) printf '%s\n' "$answer"; exit 0 ;;
        3) reason="$reason $candidate $answer;" ;;
        *) [ -z "$named" ] || reason=" $candidate is not a Python that runs;" ;;
    esac
done
if [ -n "$named" ]; then
    printf 'setup:%s name another one with PYTHON=/path/to/python3.11\n' "$reason" >&2
else
    printf 'setup: no fit Python in PATH:%s install Python 3.11 with its venv module, or name one with PYTHON=\n' \
        "${reason:- there is none;}" >&2
fi
exit 2
