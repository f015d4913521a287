#!/bin/sh
# usage: packaging/environment.sh FOLDER PART [PYTHON]
#
# Finds a Python that can make the environment in FOLDER, unless one is given, and runs environment.py, which brings
# the environment up to date. PART is run, dev or binary.
set -eu
here=$(dirname -- "$0")
folder=$1 part=$2 python=${3-}

# Prints the reason for which "$1" cannot make an environment; prints nothing if it can.
objection() {
    command -v "$1" >/dev/null 2>&1 || { echo "$1 is not there"; return; }
    "$1" -I - 2>/dev/null <<'END' || echo "$1 does not run"
import sys
version = "%d.%d" % sys.version_info[:2]
if sys.version_info < (3, 11):
    print("%s is Python %s" % (sys.executable, version))
else:
    try:
        import ensurepip, venv
    except ImportError:
        print("%s cannot make environments: on Debian and Ubuntu, apt install python%s-venv" % (sys.executable, version))
END
}

refuse() {
    echo "MiniCloud needs Python 3.11 or newer with venv. $1" >&2
    exit 1
}

if [ -n "$python" ]; then
    why=$(objection "$python")
    [ -z "$why" ] || refuse "$why"
    exec "$python" -I "$here/environment.py" "$folder" "$part" --with-this-python
fi
all=
# The environment's own Python comes first. If it still works, no other is looked for.
for python in "$folder/bin/python" python3.13 python3.12 python3.11 python3; do
    why=$(objection "$python")
    [ -n "$why" ] || exec "$python" -I "$here/environment.py" "$folder" "$part"
    case $why in *"is not there" | *"does not run") ;; *) all="$all $why." ;; esac
done
refuse "Install it, or name it: make PYTHON=/path/to/python3.$all"
