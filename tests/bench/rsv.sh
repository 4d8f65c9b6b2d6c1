# A whole fleet of rsv: one controller, and a keeper and an agent a host, over mutual TLS on loopback.
# RSVBIN = the directory with the binaries; RSV_PROGRAMS = programs a host (5), of which one is called app.
: "${RSVBIN:=}"; R=${RSVBIN:+$RSVBIN/}
# The measured program, built by the Makefile beside the folder of the adapters.
: "${BCHILD:=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/build/bchild}"
[ -x "$BCHILD" ] || { echo "no $BCHILD: run make first" >&2; return 1; }

f_prepare() {
  mkdir -p "$1/rsv"
  ${R}rsv-controller init --state-dir "$1/rsv/ctl" --name localhost --listen 127.0.0.1:"${RSV_PORT:-7443}" --admin bench >/dev/null
  local host name d
  while read -r host _; do
    d=$1/rsv/$host; mkdir -p "$d/log"
    {
      printf '[agent]\nname=%s\nstate_dir=%s/state\nsocket=%s/agent.sock\nkeeper_socket=%s/keeper.sock\n' "$host" "$d" "$d" "$d"
      printf 'controller=localhost:%s\n' "${RSV_PORT:-7443}"
      printf '[supervisord]\nlogfile=%s/agent.log\npidfile=%s/agent.pid\nchildlogdir=%s/log\n' "$d" "$d" "$d"
      for name in app $(seq -f 'side%.0f' 2 "${RSV_PROGRAMS:-5}"); do
        printf '[program:%s]\ncommand=%s idle %s %s:%s\nstartsecs=0\n' "$name" "$BCHILD" "$FLEETDIR/obs" "$host" "$name"
        printf 'redirect_stderr=true\nstdout_logfile=%s/log/%s.log\n' "$d" "$name"
      done
    } >"$d/agent.conf"
  done <"$1/hosts.txt"
}

f_up() {
  local host token d i=0
  setsid ${R}rsv-controller run --state-dir "$1/rsv/ctl" >"$1/rsv/ctl.out" 2>&1 </dev/null &
  echo $! >"$1/rsv/pids"
  until _rsv "$1" host ls >/dev/null 2>&1; do sleep 0.1; i=$((i + 1)); [ $i -lt 100 ] || return 1; done
  token=$(_rsv "$1" -H 'h*' token create --uses "$2" | awk 'NF {last = $NF} END {print last}')
  while read -r host _; do
    d=$1/rsv/$host
    RSV_TOKEN=$token ${R}rsv-agent join -c "$d/agent.conf" >"$d/join.out" 2>&1 </dev/null || cat "$d/join.out" >&2
    setsid ${R}rsv-keeper --socket "$d/keeper.sock" >"$d/keeper.out" 2>&1 </dev/null &
    echo $! >>"$1/rsv/pids"
    setsid ${R}rsv-agent -n -c "$d/agent.conf" >"$d/agent.out" 2>&1 </dev/null &
    echo $! >>"$1/rsv/pids"
  done <"$1/hosts.txt"
  i=0
  until [ "$(_rsv "$1" -A -o json host ls | grep -o '"connected"' | wc -l)" = "$2" ]; do
    sleep 0.2; i=$((i + 1)); [ $i -lt 300 ] || return 1
  done
}

# Agents first: each stops its programs and its keeper.
f_down() { [ ! -s "$1/rsv/pids" ] || tac "$1/rsv/pids" | xargs -r kill 2>/dev/null; }
f_reset() { :; }
f_cmd_restart() { _line "$1" -A -y restart app; }
f_cmd_status() { _line "$1" -A status; }
f_cmd_tail() { _line "$1" -A tail -f --lines 0 app; }
f_cmd_flood() { :; }

_rsv() { local d=$1; shift; RSV_CONTEXT=$d/rsv/ctl/bench.context "${R}rsv" "$@"; }
_line() { local d=$1; shift; echo "env RSV_CONTEXT=$d/rsv/ctl/bench.context ${R}rsv $*"; }
