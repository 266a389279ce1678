# shellcheck shell=sh
# One stack: sandboxd and its nginx below one home directory. Sourced after lib.sh by up, down, reload and demo.

home=${DAIV_SANDBOX_HOME:-/var/lib/sandboxd}
home=${home%/}
case $home in
    /*) ;;
    *) die "DAIV_SANDBOX_HOME must be an absolute path: '$home'" ;;
esac
case $home in
    *[!A-Za-z0-9/._+,:=-]*) die "DAIV_SANDBOX_HOME holds a character that its configuration files cannot: '$home'" \
        "letters, digits and /._+,:=- are fine" ;;
esac
export DAIV_SANDBOX_HOME="$home"

config=$home/sandboxd.env
nginx_conf=$home/nginx/nginx.conf
sandboxd_pidfile=$home/run/sandboxd.pid
nginx_pidfile=$home/run/nginx.pid
sandboxd_log=$home/log/sandboxd.log
nginx_log=$home/log/nginx-error.log
stack=stack-$home
# For builds with sanitizers.
sanitizer_options=$(env | sed -n 's/^\(\(ASAN\|UBSAN\|LSAN\|TSAN\)_OPTIONS=[^[:space:]]*\)$/\1/p' | tr '\n' ' ')
sandboxd=${SANDBOXD_BIN:-$root/build/${VARIANT:-gcc}/sandboxd}

sandboxd_pid() {
    running_pid "$sandboxd_pidfile" sandboxd "$config"
}

nginx_pid() {
    running_pid "$nginx_pidfile" nginx "$nginx_conf"
}

# One start, stop or reload of this stack at a time.
lock_stack() {
    mkdir -p "$home"
    chmod 0711 "$home"
    exec 9>"$home/lock"
    flock -w 120 9 || die "another start, stop or reload of $home takes too long"
}

# setting NAME [FILE]: its value as written in the configuration file, or in another of that form.
setting() {
    sed -n "s/^$1=//p" "${2:-$config}" 2>/dev/null | tail -n 1 | sed 's/^"\(.*\)"$/\1/'
}

# The program with an environment that holds no setting: those are in the configuration file, which only root can read.
run_sandboxd() {
    # shellcheck disable=SC2086 # a list of NAME=value
    env -i PATH="$PATH" LANG=C.UTF-8 NGINX_USER_LINE="${nginx_user_line:-}" $sanitizer_options "$sandboxd" "$@"
}

# merged_settings FILE: the settings of the environment over those of FILE, one NAME="value" a line.
merged_settings() {
    awk -v file="$1" '
        BEGIN {
            for (name in ENVIRON)
                if (name ~ /^DAIV_SANDBOX_[A-Z0-9_]+$/ || name == "DOCKER_HOST")
                    if (ENVIRON[name] != "") set[name] = ENVIRON[name]
            while ((getline line < file) > 0) {
                name = line
                sub(/=.*/, "", name)
                if (!(name in set)) print line
            }
            for (name in set) {
                if (set[name] ~ /\n/) {
                    print name ": a setting cannot hold a line break" >"/dev/stderr"
                    exit 1
                }
                print name "=\"" set[name] "\""
            }
        }'
}

make_directories() {
    for _dir in run log nginx nginx/tmp nginx/server.d state; do mkdir -p "$home/$_dir"; done
    chmod 0700 "$home/state"
    chmod 0750 "$home/log"
    chmod 0711 "$home/nginx" "$home/nginx/tmp"
    # Sockets made in run/ get its group, so that nginx's workers reach them without being root.
    if getent group www-data >/dev/null; then
        chgrp www-data "$home/run"
        chmod 2710 "$home/run"
    else
        chmod 0700 "$home/run"
    fi
}

# The user of nginx's workers: not root, unless the home is below a directory that only root can enter.
choose_nginx_user() {
    if setpriv --reuid=www-data --regid=www-data --clear-groups test -x "$home/run" 2>/dev/null; then
        nginx_user_line="user www-data;"
    else
        nginx_user_line="user root;"
    fi
}

# The address under which this machine reaches HOST:PORT.
base_url() {
    case $1 in
        0.0.0.0) echo "http://127.0.0.1:$2" ;;
        ::) echo "http://[::1]:$2" ;;
        *:*) echo "http://[$1]:$2" ;;
        *) echo "http://$1:$2" ;;
    esac
}

stack_url() {
    base_url "$(setting DAIV_SANDBOX_HOST)" "$(setting DAIV_SANDBOX_PORT)"
}

# Write nginx's configuration from the templates and have nginx check it; what stood there before comes back when it is
# not in order.
render_nginx() {
    choose_nginx_user
    for _file in keys.conf nginx.conf; do
        (umask 077 && run_sandboxd --config "$config" --render "$root/nginx/$_file.in" >"$home/nginx/$_file.new") ||
            die "nginx/$_file.in could not be rendered" "see above"
    done
    for _file in keys.conf nginx.conf; do
        [ ! -e "$home/nginx/$_file" ] || cp -p "$home/nginx/$_file" "$home/nginx/$_file.old"
        mv "$home/nginx/$_file.new" "$home/nginx/$_file"
    done
    if ! nginx -q -t -e "$nginx_log" -c "$nginx_conf" >&2; then
        for _file in keys.conf nginx.conf; do
            [ ! -e "$home/nginx/$_file.old" ] || mv "$home/nginx/$_file.old" "$home/nginx/$_file"
        done
        die "nginx does not accept its configuration" "see above; the templates are $root/nginx/*.in, additions $home/nginx/server.d/"
    fi
    rm -f "$home"/nginx/*.conf.old
}

# Does the whole stack answer? Through nginx, so that both are shown to work.
healthy() {
    curl -fs --noproxy '*' --max-time 3 -o /dev/null "$(stack_url)/-/health/"
}

show_logs() {
    for _log in "$sandboxd_log" "$nginx_log"; do
        if [ -s "$_log" ]; then
            say "the end of $_log:"
            tail -n 12 "$_log" | sed 's/^/    /' >&2
        fi
    done
}

# stop_process PID SECONDS NAME: TERM, and KILL after that time, with its children: nginx's workers serve on without a master.
stop_process() {
    kill -TERM "$1" 2>/dev/null || return 0
    if ! wait_gone "$1" "$2"; then
        say "$3 does not end after $2 s; it is killed"
        # shellcheck disable=SC2046 # a list of pids
        kill -KILL "$1" $(cat "/proc/$1/task/$1/children" 2>/dev/null) 2>/dev/null || :
        wait_gone "$1" 10 || die "$3 (process $1) cannot be ended"
    fi
}

# How long sandboxd may take to stop: what it lets running requests take, and then some to end what is left.
stop_seconds() {
    _drain=$(setting DAIV_SANDBOX_DRAIN_SECONDS | sed 's/[^0-9].*//')
    echo $((${_drain:-30} + 30))
}

# New requests are refused with a 503 while the running ones come to their end; then nginx has nothing left to say.
stop_stack() {
    _nginx=$(nginx_pid)
    _sandboxd=$(sandboxd_pid)
    [ -z "$_sandboxd" ] || stop_process "$_sandboxd" "${SANDBOXD_DOWN_TIMEOUT:-$(stop_seconds)}" sandboxd
    if [ -n "$_nginx" ]; then
        kill -QUIT "$_nginx" 2>/dev/null || :
        wait_gone "$_nginx" 2 || stop_process "$_nginx" 5 nginx
    fi
    rm -f "$sandboxd_pidfile" "$nginx_pidfile"
}
