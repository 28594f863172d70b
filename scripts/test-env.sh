# shellcheck shell=bash
# Where tests write: `. scripts/test-env.sh`. What is already set stays.
# The platform brings what it writes to the disk, file by file, hundreds of times a run; a disk takes longer for it than the run for
# all else. What a test wrote outlives no crash of the machine anyway, so it lies in memory where there is room: of the 4 GB
# asked for tests take less than one. Some machines allow no programs there, which tests write too.
if [ -z "${TMPDIR:-}" ] && _room=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }') && [ "${_room:-0}" -gt 4000000 ] &&
    _probe=$(mktemp /dev/shm/exp-test.XXXXXX 2>/dev/null); then
    printf '#!/bin/sh\n' >"$_probe"
    chmod 700 "$_probe"
    if "$_probe" 2>/dev/null; then export TMPDIR=/dev/shm; fi
    rm -f "$_probe"
fi
unset _room _probe
