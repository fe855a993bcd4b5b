#!/bin/sh
# Waits until the clock is set by NTP, at most the given seconds (default: 0); one line and code 1 where it isn't.
# Flower signs each call with the time: a node that is 10 s ahead or 400 s behind is refused. A Pi has no battery.
set -eu

synchronized() {
    if command -v timedatectl >/dev/null &&
        [ "$(timedatectl show --property=NTPSynchronized --value 2>/dev/null)" = yes ]; then
        return 0
    fi
    # chrony sets the kernel's mark, which timedatectl reads, only where its configuration says rtcsync.
    command -v chronyc >/dev/null && chronyc -n tracking 2>/dev/null | grep -Eq '^Leap status *: (Normal|Insert|Delete)'
}

left=${1:-0}
until synchronized; do
    if [ "$left" -le 0 ]; then
        echo "error: the clock isn't set by NTP, so the server would refuse this machine: timedatectl set-ntp true" >&2
        exit 1
    fi
    sleep 2
    left=$((left - 2))
done
