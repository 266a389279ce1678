# shellcheck shell=sh
# Common functions. Sourced by the scripts beside it after `set -eu`; results go to stdout, everything meant for a
# person goes to stderr.

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck disable=SC2034 # used by the scripts that source this file
me=$(basename "$0")
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

# Standard error as a terminal: progress is then redrawn in place.
if [ -t 2 ]; then tty=1; else tty=; fi

say() {
    printf '%s\n' "$*" >&2
}

die() {
    printf '%s: %s\n' "$me" "$1" >&2
    shift
    for _hint; do printf '    %s\n' "$_hint" >&2; done
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Root, or the same script again through sudo with the settings kept.
need_root() {
    [ "$(id -u)" -ne 0 ] || return 0
    have sudo || die "this needs root" "run it as root, or install sudo"
    _keep=$(env | sed -n 's/^\(\(DAIV_SANDBOX\|SANDBOXD\|SBX\)_[A-Z0-9_]*\|DOCKER_HOST\|VARIANT\|[a-zA-Z]*_proxy\|[A-Z]*_PROXY\)=.*/\1/p' |
        tr '\n' ',')
    exec sudo ${_keep:+--preserve-env="${_keep%,}"} "$0" "$@"
}

# Run as the owner of the source tree, so that a build through sudo leaves no files of root behind.
as_owner() {
    _uid=$(stat -c %u "$root")
    if [ "$(id -u)" -eq 0 ] && [ "$_uid" -ne 0 ]; then
        setpriv --reuid="$_uid" --regid="$(stat -c %g "$root")" --clear-groups -- "$@"
    else
        "$@"
    fi
}

# End a process and what it started; dpkg is left to finish what it is at.
kill_tree() {
    [ "$(cat "/proc/$1/comm" 2>/dev/null)" != dpkg ] || return 0
    for _child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do (kill_tree "$_child"); done
    kill "$1" 2>/dev/null || :
}

# step LABEL COMMAND…: run it quietly. Shows that it goes on once it takes longer than a second; the tail of its output
# when it fails. Returns the command's status.
step() (
    step_label=$1
    shift
    step_log=$(mktemp)
    step_begun=$(date +%s)
    "$@" >"$step_log" 2>&1 </dev/null &
    step_pid=$!
    trap 'kill_tree "$step_pid"; rm -f "$step_log"; exit 130' INT TERM HUP
    step_shown=-1
    step_tick=0
    while kill -0 "$step_pid" 2>/dev/null; do
        sleep 0.1
        step_tick=$((step_tick + 1))
        [ $((step_tick % 10)) -eq 0 ] || continue
        step_took=$(($(date +%s) - step_begun))
        if [ -n "$tty" ]; then
            printf '\r\033[K%s … %d s  %.50s' "$step_label" "$step_took" "$(tail -n 1 "$step_log" | tr -cd '[:print:]')" >&2
            step_shown=$step_took
        elif [ "$step_shown" -lt 0 ] || [ $((step_took - step_shown)) -ge 10 ]; then
            if [ "$step_shown" -lt 0 ]; then say "$step_label …"; else say "$step_label … $step_took s"; fi
            step_shown=$step_took
        fi
    done
    step_status=0
    wait "$step_pid" || step_status=$?
    [ -z "$tty" ] || [ "$step_shown" -lt 0 ] || printf '\r\033[K' >&2
    if [ "$step_status" -ne 0 ]; then
        say "$step_label: failed (status $step_status); the end of its output:"
        tail -n 25 "$step_log" | sed 's/^/    /' >&2
    elif [ "$step_shown" -ge 0 ]; then
        say "$step_label: done ($(($(date +%s) - step_begun)) s)"
    fi
    rm -f "$step_log"
    exit "$step_status"
)

# Does PID run a program called NAME (or NAME followed by anything) with TEXT in its command line? Guards against pid
# files that outlived their process.
is_running() {
    case $1 in '' | *[!0-9]*) return 1 ;; esac
    _exe=$(readlink "/proc/$1/exe" 2>/dev/null) || return 1
    case ${_exe##*/} in "$2"*) ;; *) return 1 ;; esac
    tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -qF -- "$3"
}

# The pid in FILE when is_running says so, else nothing.
running_pid() {
    _pid=
    if [ -f "$1" ]; then read -r _pid <"$1" || :; fi
    if is_running "$_pid" "$2" "$3"; then printf '%s\n' "$_pid"; fi
}

# wait_gone PID SECONDS: has it ended within that time? A zombie counts as ended.
wait_gone() {
    _n=$(($2 * 20))
    _tell=40
    while [ -e "/proc/$1" ] && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null; do
        [ "$_n" -gt 0 ] || return 1
        _n=$((_n - 1))
        _tell=$((_tell - 1))
        [ "$_tell" -ne 0 ] || say "waiting for process $1 to end (up to $2 s) …"
        sleep 0.05
    done
}

# detach LOG COMMAND…: start it in a session of its own, without the terminal and without the lock of this script. Sets
# $detached to its pid.
detach() {
    _log=$1
    shift
    setsid "$@" </dev/null >>"$_log" 2>&1 9>&- &
    # shellcheck disable=SC2034 # for the caller
    detached=$!
}

# unix_fits PATH: a Unix socket's address holds at most 107 bytes.
unix_fits() {
    [ "$(printf %s "$1" | LC_ALL=C wc -c)" -le 107 ]
}

# docker_answers HOST: does a daemon answer there? One that is very busy takes its time; one that is away is known at once.
docker_answers() {
    case $1 in
        unix://*) [ -S "${1#unix://}" ] && curl -fs --max-time 20 --unix-socket "${1#unix://}" http://docker/_ping >/dev/null 2>&1 ;;
        tcp://*) curl -fs --noproxy '*' --max-time 20 "http://${1#tcp://}/_ping" >/dev/null 2>&1 ;;
        *) return 1 ;;
    esac
}

# port_holder HOST PORT: who listens where HOST:PORT would? Prints "process 123 (name)" or "another process"; fails when
# the port is free.
port_holder() {
    case $1 in
        127.* | localhost) _addr='0100007F|00000000|0{32}' ;;
        *) _addr='[0-9A-F]+' ;; # any listener on the port is in the way of a wildcard; of other addresses, most likely
    esac
    _inode=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v port="$(printf '%04X' "$2")" -v addr="$_addr" '
        BEGIN {sub(/0\{32\}/, "00000000000000000000000000000000", addr)}
        $4 == "0A" && $2 ~ ("^(" addr "):" port "$") {print $10; exit}')
    [ -n "$_inode" ] || return 1
    _holder=$(find /proc/[0-9]*/fd -lname "socket:\\[$_inode\\]" 2>/dev/null | head -n 1 | cut -d / -f 3)
    if [ -n "$_holder" ]; then
        echo "process $_holder ($(cat "/proc/$_holder/comm" 2>/dev/null))"
    else
        echo "another process"
    fi
}
