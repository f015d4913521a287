#!/bin/sh
# Installs the executable, its manual pages, completions and systemd units, once its SHA-256 sum is right.
# Running it again brings everything up to date; settings in /etc/minicloud are never touched.
set -eu

usage() {
    cat <<'EOF'
usage: install.sh [--prefix DIR] [--destdir DIR] [--from DIR] [--no-units]
       install.sh --uninstall [--prefix DIR] [--destdir DIR]

  --prefix DIR    install under DIR (default: /usr/local; for who is not root: ~/.local)
  --destdir DIR   put everything under DIR/PREFIX instead, as packagers do
  --from DIR      where minicloud and SHA256SUMS are (default: beside this script, else ../dist)
  --no-units      leave systemd's units out; so does who is not root
  --uninstall     remove what was installed; registry and settings stay

exit codes: 0 done; 1 the sum is wrong, or something cannot be written; 2 the command line is wrong
EOF
}

die() {
    echo "install.sh: $2" >&2
    exit "$1"
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
prefix='' destdir='' from='' units=yes uninstall=no
while [ $# -gt 0 ]; do
    case $1 in
        --prefix | --destdir | --from)
            [ $# -ge 2 ] && [ -n "$2" ] || die 2 "$1 wants a folder (see --help)"
            case $1 in
                --prefix) prefix=$2 ;;
                --destdir) destdir=$2 ;;
                --from) from=$2 ;;
            esac
            shift
            ;;
        --no-units) units=no ;;
        --uninstall) uninstall=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) die 2 "unknown option $1 (see --help)" ;;
    esac
    shift
done

root=no
[ "$(id -u)" -ne 0 ] || root=yes
if [ -z "$prefix" ]; then
    prefix=/usr/local
    [ "$root" = yes ] || [ -n "$destdir" ] || prefix=${HOME:?install.sh: there is no home folder: give --prefix}/.local
fi
# The units name this path, so it has to be absolute.
case $prefix in
    /) prefix='' ;;
    /*) prefix=${prefix%/} ;;
    *) die 2 "--prefix $prefix: give a path from the root, as in /usr/local" ;;
esac
case $prefix in
    *[!A-Za-z0-9/._+~@-]*) die 2 "--prefix $prefix: systemd's units cannot name such a path" ;;
esac
[ "$root" = yes ] || [ -n "$destdir" ] || units=no
# systemd looks for units below /usr and /usr/local; for any other prefix they go to /etc.
case $prefix in
    /usr | /usr/local) unit_dir=$prefix/lib/systemd/system ;;
    *) unit_dir=/etc/systemd/system ;;
esac
bin=$destdir$prefix/bin
share=$destdir$prefix/share
unit_dir=$destdir$unit_dir
etc=$destdir/etc/minicloud
documents='LICENSES.txt minicloud.cdx.json'

installed() { # every file this script installs, but for the settings
    echo "$bin/minicloud"
    echo "$bin/minicloud-sim"
    for name in $documents; do
        echo "$share/doc/minicloud/$name"
    done
    for name in minicloud minicloud-sim; do
        echo "$share/man/man1/$name.1"
        echo "$share/bash-completion/completions/$name"
        echo "$share/zsh/site-functions/_$name"
        echo "$share/fish/vendor_completions.d/$name.fish"
    done
    if [ "$units" = yes ]; then
        echo "$unit_dir/minicloud.service"
        echo "$unit_dir/minicloud-worker@.service"
    fi
}

reload() { # systemd, if it runs here and these are its files
    if [ "$units" = yes ] && [ -z "$destdir" ] && [ -d /run/systemd/system ]; then
        systemctl daemon-reload || die 1 "systemctl daemon-reload failed: see above"
    fi
}

put() { # SOURCE TARGET MODE: TARGET is complete at every moment, also while the old one runs
    mkdir -p -- "$(dirname -- "$2")" 2>/dev/null || die 1 "cannot make $(dirname -- "$2"): give another --prefix"
    new=$2.new
    { cp -- "$1" "$new" && chmod "$3" "$new" && mv -f -- "$new" "$2"; } 2>/dev/null || {
        rm -f -- "$new" 2>/dev/null || :
        die 1 "cannot write $2: give another --prefix, or be root"
    }
}

if [ "$uninstall" = yes ]; then
    if [ "$units" = yes ] && [ -z "$destdir" ] && [ -d /run/systemd/system ]; then
        for unit in minicloud.service 'minicloud-worker@*.service'; do
            [ -z "$(systemctl list-units --state=active --plain --no-legend "$unit")" ] ||
                die 1 "a service of ours runs: systemctl disable --now '$unit' first"
        done
    fi
    installed | while IFS= read -r file; do
        rm -f -- "$file" || die 1 "cannot remove $file: be root"
    done
    reload
    echo "MiniCloud is removed from ${destdir}${prefix:-/}; settings in /etc/minicloud and data in /var/lib stay"
    exit 0
fi

if [ -z "$from" ]; then
    from=$here
    [ -f "$from/minicloud" ] || from=$here/../dist
fi
[ -f "$from/minicloud" ] || die 1 "there is no $from/minicloud: name its folder with --from"
[ -f "$from/SHA256SUMS" ] || die 1 "there is no $from/SHA256SUMS: download it with the executable"
# The files are copied first, so that the files that were verified are installed.
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
trap 'exit 1' HUP INT TERM
for name in minicloud $documents; do
    wanted=$(awk -v name="$name" '$2 == name || $2 == "*" name { print $1 }' "$from/SHA256SUMS")
    [ -n "$wanted" ] || die 1 "$from/SHA256SUMS has no sum of $name: download it again"
    [ -f "$from/$name" ] || die 1 "there is no $from/$name: download it with the executable"
    cp -- "$from/$name" "$work/$name"
    if command -v sha256sum >/dev/null 2>&1; then
        found=$(sha256sum <"$work/$name")
    else
        found=$(shasum -a 256 <"$work/$name")
    fi
    found=${found%% *}
    [ "$found" = "$wanted" ] ||
        die 1 "the SHA-256 sum of $from/$name is $found, not $wanted: nothing is installed, download it again"
done

put "$work/minicloud" "$bin/minicloud" 755
ln -sf minicloud "$bin/minicloud-sim"
for name in $documents; do
    put "$work/$name" "$share/doc/minicloud/$name" 644
done
for name in minicloud minicloud-sim; do
    put "$here/man/$name.1" "$share/man/man1/$name.1" 644
    put "$here/completions/$name.bash" "$share/bash-completion/completions/$name" 644
    put "$here/completions/_$name" "$share/zsh/site-functions/_$name" 644
    put "$here/completions/$name.fish" "$share/fish/vendor_completions.d/$name.fish" 644
done
if [ "$units" = yes ]; then
    for unit in minicloud.service minicloud-worker@.service; do
        sed "s|^ExecStart=/usr/local/|ExecStart=$prefix/|" "$here/systemd/$unit" >"$work/$unit"
        put "$work/$unit" "$unit_dir/$unit" 644
    done
    for settings in control-plane.env worker.env; do
        [ -e "$etc/$settings" ] || put "$here/systemd/$settings" "$etc/$settings" 644
    done
    reload
fi

echo "MiniCloud is installed under ${destdir}${prefix:-/}"
if [ "$units" = yes ] && [ -z "$destdir" ]; then
    echo "  settings     /etc/minicloud/control-plane.env, /etc/minicloud/worker.env"
    echo "  run it       systemctl enable --now minicloud"
    echo "  or a worker  systemctl enable --now minicloud-worker@9091"
elif [ -z "$destdir" ]; then
    echo "  try it       $prefix/bin/minicloud dev"
fi
