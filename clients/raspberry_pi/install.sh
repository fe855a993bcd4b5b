#!/bin/sh
# Makes a Raspberry Pi a node of a federation (client) or a device that runs its models (device). See --help.
set -eu
# No Python started here, often as root, imports anything of the current folder (Python 3.11 and newer, as needed below).
export PYTHONSAFEPATH=1

# Measured by `python -m sims.emulate.needs`, rounded up; docs/raspberry_pi.md has the figures.
CLIENT_MEMORY_MB=400
CLIENT_DISK_MB=700
TENSORFLOW_MEMORY_MB=1700
TENSORFLOW_DISK_MB=3000
DEVICE_MEMORY_MB=400
DEVICE_DISK_MB=500
# TensorFlow has wheels for Python up to 3.13, LiteRT up to 3.14.
OLDEST=11
CLIENT_NEWEST=13
DEVICE_NEWEST=14

kit=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
project=$kit/../..
# Where files go: empty on a Pi; a folder to stage an installation in.
DESTDIR=${DESTDIR-}
etc=$DESTDIR/etc/fedkd
units=$DESTDIR/etc/systemd/system
state=/var/lib/fedkd

usage() {
    cat <<'TEXT'
usage: install.sh client --node DIR [--tensorflow] [--from PATH] [--dry-run]
       install.sh device --hub HOST:PORT|URL --root FILE [--ca FILE] [--from PATH] [--dry-run]
       install.sh check client|device [--tensorflow]
       install.sh uninstall [--purge] [--dry-run]

  client     take part in training, by a file that the server sends: no TensorFlow, about 0.4 GB
  device     run the models that a hub offers: no TensorFlow, about 0.2 GB
  check      say what this machine lacks, and do nothing
  uninstall  remove programs and services; keys and state stay, unless --purge

  --node DIR   this node's folder, nodes/N of `fedkd deploy init`; with data.npz in it, if that is to be copied, too
  --tensorflow all of fedkd, about 2 GB, for models that can't be trained by a file
  --hub        where `fedkd hub serve` listens, or the URL of a folder `repository` on the web
  --root FILE  root metadata to trust: metadata/1.root.json of the hub
  --ca FILE    certificate of the hub's own authority, if it has one
  --from PATH  what to install: a checkout, or wheel (default: the checkout this script is in)
  --dry-run    print what would be done, on any machine, and do nothing; what this one lacks is a note
TEXT
}

fail() {
    echo "error: $*" >&2
    exit 2
}

# --- what the machine must have -------------------------------------------------------------------------------------

problems=0

problem() {
    if [ "$dry" = yes ]; then
        echo "note: this machine would be refused: $*" >&2
    else
        echo "error: $*" >&2
        problems=$((problems + 1))
    fi
}

check() { # ROLE
    case $1 in
    client)
        memory=$CLIENT_MEMORY_MB disk=$CLIENT_DISK_MB newest=$CLIENT_NEWEST
        [ "$tensorflow" = no ] || memory=$TENSORFLOW_MEMORY_MB disk=$TENSORFLOW_DISK_MB
        ;;
    device) memory=$DEVICE_MEMORY_MB disk=$DEVICE_DISK_MB newest=$DEVICE_NEWEST ;;
    *) fail "check takes client or device, got '$1'" ;;
    esac
    check_system
    check_python "$newest"
    check_memory "$1" "$memory"
    check_disk "$1" "$disk"
    clock=$(sh "$kit/time_sync.sh" 0 2>&1) || problem "${clock#error: }"
    [ "$problems" -eq 0 ] || exit 2
}

check_system() {
    machine=$(uname -m)
    bits=$(getconf LONG_BIT 2>/dev/null) || bits=unknown
    if [ "$machine" != aarch64 ]; then
        problem "the processor must be aarch64, got $machine: fedkd's wheels exist for 64-bit ARM (Raspberry Pi 3 or newer)"
    elif [ "$bits" != 64 ]; then
        problem "the system is $bits-bit on a 64-bit processor: install the 64-bit Raspberry Pi OS"
    fi
    command -v systemctl >/dev/null || problem "systemctl is missing: the services need systemd, as Raspberry Pi OS has it"
}

check_python() { # NEWEST
    if ! found=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); then
        problem "python3 is missing: apt install python3 python3-venv"
        return
    fi
    minor=${found#3.}
    if [ "$minor" -lt "$OLDEST" ]; then
        problem "Python must be 3.$OLDEST or newer, got $found: install Raspberry Pi OS bookworm (3.11) or trixie (3.13)"
    elif [ "$minor" -gt "$1" ]; then
        problem "Python must be 3.$1 or older, got $found: there are no wheels for it yet"
    fi
    python3 -c 'import ensurepip, venv' 2>/dev/null || problem "Python's venv is missing: apt install python3-venv"
}

check_memory() { # ROLE MB
    pages=$(getconf _PHYS_PAGES 2>/dev/null) || pages=0
    page=$(getconf PAGE_SIZE 2>/dev/null) || page=0
    have=$((pages * page / 1048576))
    [ "$have" -ge "$2" ] || problem "a $1 needs $2 MB of memory, this machine has $have MB"
}

check_disk() { # ROLE MB
    have=$(df -Pm "$(existing "$prefix")" 2>/dev/null | awk 'NR == 2 { print $4 }')
    have=${have:-0}
    # What is installed already is replaced in place.
    [ -e "$prefix/ready" ] || [ "$have" -ge "$2" ] ||
        problem "a $1 needs $2 MB of disk while it is installed, $(existing "$prefix") has $have MB left"
}

existing() { # PATH: it, or the nearest folder above it that exists
    path=$1
    while [ ! -d "$path" ]; do path=$(dirname -- "$path"); done
    echo "$path"
}

# --- what is done ---------------------------------------------------------------------------------------------------

run() {
    if [ "$dry" = yes ]; then
        echo "+ $*"
    else
        "$@"
    fi
}

make_user() {
    getent passwd fedkd >/dev/null 2>&1 ||
        run useradd --system --user-group --home-dir $state --no-create-home --shell /usr/sbin/nologin fedkd
}

make_venv() { # SOURCE
    # Half-made, or made by a Python that an upgrade of the system took away.
    "$prefix/bin/python" -m pip --version >/dev/null 2>&1 || run python3 -m venv --clear "$prefix"
    # Wheels only: nothing is compiled on a Pi. Not in /tmp, which trixie holds in memory.
    run mkdir -p "$prefix/tmp"
    set -- env "TMPDIR=$prefix/tmp" "$prefix/bin/python" -m pip install --no-cache-dir --upgrade --only-binary=:all: "$1"
    run "$@"
    run rm -rf "$prefix/tmp"
    run install -m 755 "$kit/time_sync.sh" "$prefix/bin/fedkd-time-sync"
    run touch "$prefix/ready"
}

secret() { # MODE SOURCE NAME: of root, readable by the service
    run install -m "$1" "$2" "$etc/$3"
    run chown root:fedkd "$etc/$3"
}

folder() { # NAME
    run install -d -m 750 "$etc/$1"
    run chown root:fedkd "$etc/$1"
}

unit() { # NAME
    run mkdir -p "$units"
    run install -m 644 "$kit/$1" "$units/$1"
}

install_client() {
    [ -n "$node" ] || fail "client takes --node DIR: the folder nodes/N of 'fedkd deploy init'"
    for needed in start.sh ca.crt node.key; do
        [ -r "$node/$needed" ] || fail "$node has no $needed: give the folder nodes/N of 'fedkd deploy init'"
    done
    check client
    make_user
    source=$project/clients/node
    [ "$tensorflow" = no ] || source=$project
    make_venv "${from:-$source}"
    folder node
    for path in "$node"/*; do
        [ -f "$path" ] || continue
        case $path in
        *.service) ;; # for machines without this kit
        *.sh) secret 750 "$path" "node/${path##*/}" ;;
        *) secret 640 "$path" "node/${path##*/}" ;;
        esac
    done
    unit fedkd-node.service
    run systemctl daemon-reload
    run systemctl enable fedkd-node.service
    run systemctl restart fedkd-node.service
    finished "journalctl -u fedkd-node says how it goes; this node's examples belong in $etc/node/data.npz"
}

install_device() {
    [ -n "$hub" ] || fail "device takes --hub HOST:PORT, or the URL of a folder 'repository'"
    case $hub in *[!A-Za-z0-9._:/%@~[\]-]*) fail "--hub must be HOST:PORT or a URL, got '$hub'" ;; esac
    [ -n "$root" ] || fail "device takes --root FILE: metadata/1.root.json of the hub"
    for path in "$root" ${ca:+"$ca"}; do [ -r "$path" ] || fail "$path: no such file"; done
    check device
    make_user
    make_venv "${from:-$project/clients/device}"
    folder device
    secret 640 "$root" device/root.json
    option=
    if [ -n "$ca" ]; then
        secret 640 "$ca" device/ca.crt
        option="--ca /etc/fedkd/device/ca.crt"
    fi
    run write_settings "$etc/device/hub.env" "$hub" "$option"
    unit fedkd-device.service
    unit fedkd-device.timer
    run systemctl daemon-reload
    run systemctl enable fedkd-device.timer
    run systemctl restart fedkd-device.timer
    finished "journalctl -u fedkd-device says how it goes; further options go to $etc/device.env"
}

finished() { # WHAT TO KNOW NOW
    if [ "$dry" = yes ]; then echo "nothing was done"; else echo "done: $*"; fi
}

write_settings() { # FILE HUB OPTION
    printf 'FEDKD_HUB=%s\nFEDKD_CA=%s\n' "$2" "$3" >"$1.new"
    mv "$1.new" "$1"
}

uninstall() {
    for name in fedkd-node.service fedkd-device.timer fedkd-device.service; do
        [ -e "$units/$name" ] || continue
        run systemctl disable --now "$name"
        run rm -f "$units/$name"
    done
    run systemctl daemon-reload
    run rm -rf "$DESTDIR/opt/fedkd" "$DESTDIR/opt/fedkd-device"
    if [ "$purge" = yes ]; then
        run rm -rf "$etc" "$DESTDIR$state"
        if getent passwd fedkd >/dev/null 2>&1; then run userdel fedkd; fi
    else
        echo "kept: $etc (keys) and $DESTDIR$state (models); --purge removes them, too"
    fi
}

# --- the command line -----------------------------------------------------------------------------------------------

[ $# -gt 0 ] || {
    usage >&2
    exit 2
}
command=$1
shift
role=$command
if [ "$command" = check ]; then
    [ $# -gt 0 ] || fail "check takes client or device"
    role=$1
    shift
fi
dry=no purge=no tensorflow=no node='' hub='' root='' ca='' from=''
while [ $# -gt 0 ]; do
    case $1 in
    --dry-run) dry=yes ;;
    --purge) purge=yes ;;
    --tensorflow) tensorflow=yes ;;
    --node | --hub | --root | --ca | --from)
        [ $# -gt 1 ] || fail "$1 takes a value"
        eval "${1#--}=\$2"
        shift
        ;;
    *) fail "unknown option $1; see install.sh --help" ;;
    esac
    shift
done
prefix=$DESTDIR/opt/fedkd
[ "$role" != device ] || prefix=$DESTDIR/opt/fedkd-device

case $command in
-h | --help) usage ;;
check)
    dry=no
    check "$role" && echo "this machine can be a $role"
    ;;
client | device | uninstall)
    [ "$dry" = yes ] || [ "$(id -u)" = 0 ] || fail "must be run as root: sudo $0 $command ..."
    case $command in
    client) install_client ;;
    device) install_device ;;
    uninstall) uninstall ;;
    esac
    ;;
*) fail "unknown command '$command'; see install.sh --help" ;;
esac
