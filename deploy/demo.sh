#!/usr/bin/env bash
# A whole small fleet on this machine: one controller and four agents, each a set of real processes
# with an identity of its own, over real mutual TLS on loopback, in one temporary directory.
#
#   ./deploy/demo.sh          shows what happens, then runs until interrupted
#   ./deploy/demo.sh --check  the same without waiting; exits 0 only if each step was observed
#
# Everything it starts it also stops, and everything it makes it also removes.
set -euo pipefail

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0"; }
check=
case ${1-} in
    '') ;;
    --check) check=1 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
esac

cd "$(dirname "$0")/.."
hosts=(web01 web02 web03 db01)
bold= plain=
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then bold=$'\e[1m' plain=$'\e[0m'; fi

say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }
# Shows a command as one would type it, and runs it.
show() { printf '%s$ %s%s\n' "$bold" "$(quoted "$@")" "$plain"; "$@"; }
quoted() {
    local word line=
    for word in "$@"; do
        case $word in *[\*\[\ ]*) word="'$word'" ;; esac
        line+="${line:+ }$word"
    done
    echo "$line"
}
# eventually SECONDS WHAT COMMAND...: until the command succeeds.
eventually() {
    local limit=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$limit" ] || fail "not within the time it should take: $what"
        sleep 0.1
    done
}

# Bounded by what an agent may take to stop its programs.
until_gone() {
    local limit=$((SECONDS + 20))
    while kill -0 "$1" 2>/dev/null && [ "$SECONDS" -lt "$limit" ]; do sleep 0.05; done
}

say 'Building the release binaries (the first time takes some minutes)'
cargo build --release --locked --bin rsv --bin rsv-agent --bin rsv-keeper --bin rsv-controller
PATH=${CARGO_TARGET_DIR:-$PWD/target}/release:$PATH
export PATH

demo=$(mktemp -d "${TMPDIR:-/tmp}/rsv-demo.XXXXXX")
declare -A agent=()
controller=
sleeper=

stop_everything() {
    trap - EXIT INT TERM
    [ -z "$sleeper" ] || kill "$sleeper" 2>/dev/null || true
    # An agent that is told to end stops its programs in order, and its keeper ends with it.
    local pid
    for pid in "${agent[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${agent[@]}"; do until_gone "$pid"; done
    if [ -n "$controller" ]; then
        kill -TERM "$controller" 2>/dev/null || true
        until_gone "$controller"
    fi
    rm -rf "$demo"
}
trap stop_everything EXIT
trap 'printf "\n"; exit 0' INT TERM

free_port() {
    # The kernel's own choice of a free port, by binding to none in particular.
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

write_configuration() {
    local name=$1 dir=$demo/$1
    mkdir -p "$dir/log"
    cat >"$dir/agent.conf" <<INI
[agent]
name = $name
controller = localhost:$port
labels = role=${name%%[0-9]*}
state_dir = $dir/state
socket = $dir/agent.sock
keeper_socket = $dir/keeper.sock

[supervisord]
logfile = $dir/log/agent.log
pidfile = $dir/agent.pid
childlogdir = $dir/log

[program:app]
command = /bin/sh -c 'echo "app of $name, pid \$\$"; exec sleep 1000000'
startsecs = 0
autorestart = true                 ; whatever happens to it, it comes back

[program:clock]
command = /bin/sh -c 'while :; do date; sleep 1; done'
startsecs = 0
INI
}

start_agent() {
    rsv-agent --nodaemon --configuration "$demo/$1/agent.conf" >>"$demo/$1/agent.out" 2>&1 &
    agent[$1]=$!
    # The shell is not to report the end of what it did not start as a job of its own.
    disown
}

connected() {
    local count
    count=$(rsv -A -o json host ls | grep -o '"state": *"connected"' | wc -l)
    [ "$count" = "$1" ]
}
# The process id of a program of one host, from the controller's view: pid_of HOST PROGRAM.
pid_of() { rsv -H "$1" pid "$2" | grep -oE '[0-9]+$' | tail -n 1; }
changed_pid() { local now; now=$(pid_of "$1" "$2") && [ -n "$now" ] && [ "$now" != 0 ] && [ "$now" != "$3" ]; }
all_running() { rsv -A status; }

say 'A certificate authority, a controller and the first operator'
port=$(free_port)
show rsv-controller init --state-dir "$demo/ctl" --name localhost --listen "127.0.0.1:$port" --admin admin
export RSV_CONTEXT=$demo/ctl/admin.context
rsv-controller run --state-dir "$demo/ctl" --listen "127.0.0.1:$port" >>"$demo/ctl.log" 2>&1 &
controller=$!
disown
eventually 20 'the controller answers' rsv host ls

say 'Four hosts join, each with a one-time token of its own'
for name in "${hosts[@]}"; do
    write_configuration "$name"
    token=$(rsv token create --host "$name" --ttl 10m | tail -n 1)
    rsv-agent join --token "${token##* }" --configuration "$demo/$name/agent.conf"
    start_agent "$name"
done
eventually 20 'all four agents are connected' connected 4
show rsv host ls
eventually 20 'every program runs' all_running
show rsv -A status || fail 'not every program runs'

say 'One command restarts app on the web hosts, and nowhere else'
declare -A before=()
for name in "${hosts[@]}"; do before[$name]=$(pid_of "$name" app); done
show rsv --host 'web*' restart app || fail 'the restart did not succeed'
for name in web01 web02 web03; do
    changed_pid "$name" app "${before[$name]}" || fail "app of $name was not restarted"
done
[ "$(pid_of db01 app)" = "${before[db01]}" ] || fail 'app of db01 was touched'

say 'A program is killed, and comes back'
victim=$(pid_of web01 app)
show kill -KILL "$victim"
eventually 10 'app of web01 is back' changed_pid web01 app "$victim"
show rsv -H web01 status app

say 'An agent is killed with SIGKILL: its programs do not notice'
app=$(pid_of web02 app)
show kill -KILL "${agent[web02]}"
until_gone "${agent[web02]}"
eventually 20 'the fleet knows that web02 is gone' connected 3
show rsv -H web02 status || true
kill -0 "$app" 2>/dev/null || fail 'app of web02 died with its agent'
start_agent web02
eventually 20 'web02 is back' connected 4
[ "$(pid_of web02 app)" = "$app" ] || fail 'the new agent did not take over app of web02'
show rsv -H web02 status || fail 'not every program of web02 runs'

if [ -n "$check" ]; then
    say 'Every step was observed.'
    exit 0
fi
cat <<TEXT

${bold}The fleet runs until you press Ctrl-C.${plain} In another terminal:

  export PATH=${PATH%%:*}:\$PATH RSV_CONTEXT=$RSV_CONTEXT

  rsv -A status
  rsv --host 'web*' restart app
  rsv -H db01 tail -f clock
  rsv -H 'web[01-02]' stop clock
  rsv host ls
  rsv -c $demo/web01/agent.conf status      # as supervisorctl would, on one host
TEXT
# A signal ends `wait` at once, and would leave a sleep in the foreground running to its end.
while :; do
    sleep 3600 &
    sleeper=$!
    wait "$sleeper"
done
