//! The longer texts of the help pages: what a verb does, examples, exit codes.

pub(super) const ABOUT: &str = "\
Start, stop and watch programs on this machine or on a whole fleet.

Without --host or --all-hosts a verb means this machine, and prints and exits as supervisorctl does: \
over the socket of its agent, or by XML-RPC where that cannot be used or --serverurl names a server, such \
as that of a supervisord. With them it means those hosts of the fleet, through a controller, \
with the identity of a context (see `rsv ctx --help`).";

pub(super) const AFTER_SHORT: &str = "\
Examples:
  rsv                                   a prompt with history and completion; `quit` ends it
  rsv status                            programs of this machine
  rsv restart app                       one of them
  rsv -c supervisord.conf status        of the daemon with this configuration
  rsv -s http://127.0.0.1:9001 status   of a supervisord
  rsv -A status                         the whole fleet: is it fine?
  rsv -H 'web*' restart app             one operation on every web host
  rsv -H web02 tail -f app              follow its output

`rsv help VERB` explains a verb; `rsv --help` also lists the exit codes.";

pub(super) const AFTER_LONG: &str = "\
Examples:
  rsv                                   a prompt with history and completion; `quit` ends it
  rsv status                            programs of this machine
  rsv restart app                       one of them
  rsv -c supervisord.conf status        of the daemon with this configuration
  rsv -s http://127.0.0.1:9001 status   of a supervisord
  rsv -A status                         the whole fleet: is it fine?
  rsv -H 'web*' restart app             one operation on every web host
  rsv -H web02 tail -f app              follow its output
  rsv -A -o json host ls                for scripts

Exit codes:
    0  everything asked was done
    1  it failed
    2  wrong usage, or a file that is wrong; nothing was done
    3  status: something is STOPPED, EXITED, FATAL or UNKNOWN
    4  status: unknown program, or nothing answered; otherwise: nothing answered
    5  the other side is an incompatible version
    7  not running, spawn error, or no socket of an agent
   10  some targets failed
   11  all that answered succeeded; some hosts are unreachable or got it too late
   12  stopped before every target was reached
   13  gave up waiting; the operation goes on and its id is printed
   14  not allowed
   15  the selection names nothing
   16  a precondition such as --expect does not hold; nothing was done
   17  not confirmed; nothing was done
   18  update --dry-run: there is something to do
  130  interrupted

With -o json a verb prints one object with \"schema\": \"rsv/VERB/v1\", such as rsv/status/v1 or
rsv/host-ls/v1; complaints go to standard error. What goes on prints one a line: status -w, events
and tail -f for each piece of news; tail and maintail without -f one for each log. top, fg, open,
completion and the prompt have no form for scripts and refuse it; `rsv -o json help` lists what
each verb has. A program that a signal has ended has exit_status -1 and its exit_signal.
-i is accepted as supervisorctl has it, and does nothing beside a verb; -r FILE is the prompt's history.

Environment:
  RSV_CONTEXT   a context's name, or a context file
  RSV_CONFIG    the file of installed contexts [default: ~/.config/rsv/config]
  NO_COLOR      no colour
  OTEL_EXPORTER_OTLP_ENDPOINT   where traces go; none are made without it";

pub(super) const EVENTS: &str = "\
Each event has a number, which grows; --from goes on with it, also after the controller was started \
again. Only the latest events are kept; what is missing is said.

  rsv events -f                            this machine, as it happens
  rsv -A events -f --type fatal,exited     what goes wrong in the fleet
  rsv -H 'web*' events --since 10m app     one program of the last ten minutes
  rsv -A -o json events -f                 one object for each event, one a line";

pub(super) const OP: &str = "\
An operation belongs to the controller: it goes on when the command line that began it has gone, and \
when the controller is started again. An id may be shortened to a beginning that no other has.

  rsv op ls --active                       what is under way
  rsv op watch 01JDG7M2                    follow it to its end, and exit as it ends
  rsv op retry 01JDG7M2 --failed           once more, where it failed

`@op:ID:failed` selects its hosts: rsv -H @op:01JDG7M2:failed status";

pub(super) const WAIT: &str = "\
A program that is FATAL does not start by itself: `wait` ends with 10 when one is, and when a host is named \
that is not enrolled. --timeout ends it with 13, or with 11 when only hosts are missing that cannot be \
reached.

  rsv wait app --timeout 30s               until app of this machine is RUNNING
  rsv -H 'web*' wait app --for stopped     until it is down on every web host
  rsv -A wait 'work*' --any                until one worker is up";

pub(super) const TOP: &str = "\
Keys: arrows or j/k move, / filters, o changes the order, r restarts, s stops, S starts, f follows the \
output, Enter shows all that is known, ? explains the keys, q ends. It has no form for scripts: -o json \
is refused.

  rsv top                                  programs of this machine
  rsv -A top                               the whole fleet, problems first";

pub(super) const STATUS: &str = "\
On this machine one line for each program: name, state, description.

On the fleet the first line answers \"is it fine?\"; then problems, then the rest. A host that
cannot be reached is always listed, with its age and what was last known of its programs.
What is down because it is disabled or its host drained is counted there, and is no problem.

Examples:
  rsv status                     every program of this machine
  rsv status app 'web:*'         one program and one group
  rsv -A status                  the fleet
  rsv -A status web1:app         one program of one host
  rsv -o wide status             also pid, uptime, latest exit, restarts
  rsv -H 'web*' -o json status   for scripts

Exit codes: 0 all up; 3 something is STOPPED, EXITED, FATAL or UNKNOWN; 4 unknown program or host,
or nothing answered; on the fleet also 11: all shown is up, but some hosts are unreachable.";

pub(super) const START: &str = "\
Answers when the programs are RUNNING, or have failed.

Examples:
  rsv start app
  rsv start 'web:*' worker
  rsv -H 'web[01-03]' start app";

pub(super) const STOP: &str = "\
Answers when the programs are gone.

Examples:
  rsv stop app
  rsv stop all
  rsv -H 'web*' -x web01 stop app
  rsv -A --expect 40 stop all     nothing is done unless these are 40 hosts

On the fleet `stop all`, and anything that reaches more than 20 hosts, asks for the number of
hosts first; without a terminal it needs --yes or --expect N.";

pub(super) const RESTART: &str = "\
Each agent restarts its own programs: the operation goes on when this command is interrupted.

Examples:
  rsv restart app
  rsv -H 'web*' restart app
  rsv -A restart web1:app 'db*:pg'   of each host its own programs
  rsv -A --dry-run restart 'work*'   only say which programs of which hosts

On the fleet PROGRAM may be of some hosts alone: HOST:PROGRAM, where HOST is a name, a glob or a
set. What could be of a group as well is refused: HOST::PROGRAM is always of a host,
'*:GROUP:NAME' always of a group.

Exit codes on the fleet: 0 done everywhere; 10 some failed; 11 all that answered succeeded, but
some hosts are unreachable. Outcomes of hosts that agree share a line: web[01-03]  (3)  app: ...";

pub(super) const SIGNAL: &str = "\
Examples:
  rsv signal HUP app
  rsv signal SIGUSR1 'web:*'
  rsv -H 'web*' signal 10 app";

pub(super) const PID: &str = "\
Without a program it is the agent's own process id. A program that does not run has 0.

Examples:
  rsv pid
  rsv pid app
  rsv -H 'web*' pid app";

pub(super) const TAIL: &str = "\
Without -f the last 1600 bytes; -BYTES for another number, -0 for all there is. --since begins
with what came into the log since then: nothing of that is left out, and a little that is older
may be with it; where the agent knows the times of a part alone, that is said. One program
gives its bytes as they are; several give whole lines, each behind its host and program. Bytes
that are lost to the reader are shown as a gap. With -f a host that is away, or goes away, is said
and waited for, and its output goes on where it was. What is followed is settled at the beginning:
programs and hosts that are new after it are not. --include and --exclude look at whole lines of
what is read. With --cursor the next run goes on behind what this one has shown; only after a kill
may the last fifth of a second come twice.
With -o json without -f there is one object for each log, or for each mebibyte of it.

Examples:
  rsv tail app
  rsv tail -5000 app stderr
  rsv tail -f app
  rsv -H 'web*' tail -f app              all of them, interleaved by line
  rsv -H web01 tail --lines 50 app
  rsv tail -f --since 10m app            of the last ten minutes, and on
  rsv -A tail --since 14:30 'web:*'
  rsv -A tail -f 'web:*' --include 'ERROR|WARN' --exclude healthz
  rsv -A tail -f web1:app 'db*:pg' --prefix host --timestamps
  rsv -A tail -f --exit-on-stop batch    until it has ended everywhere
  rsv -A tail -f app --cursor FILE --log-dir DIR   a copy that can be broken off";

pub(super) const CLEAR: &str = "\
Rotated files stay.

Examples:
  rsv clear app
  rsv clear 'web:*'
  rsv clear all
  rsv -H 'web*' clear app";

pub(super) const MAINTAIL: &str = "\
Without -f the last 1600 bytes; -BYTES for another number, -0 for all there is.

Examples:
  rsv maintail
  rsv maintail -5000
  rsv maintail -f
  rsv maintail --since 10m
  rsv -A maintail -f --lines 5    of all hosts, interleaved by line";

pub(super) const REREAD: &str = "\
No program is touched: `rsv update` carries out what differs. Files that are in error change
nothing.

Examples:
  rsv reread
  rsv reread --diff     which keys of which processes, and what needs a restart
  rsv -A reread         on the fleet that is always said, for each host

Exit codes: 0 read; 1 the configuration, or a section of it, is refused; on the fleet as `restart`.";

pub(super) const UPDATE: &str = "\
Reads the files and carries out what differs: groups that are gone, then changed ones, then new
ones. Only processes that differ are restarted; what a running process does not know of, such as
autorestart, stopwaitsecs, priorities or the limits of its log, is applied as it runs, and said:

  app: updated process group (nothing restarted: autorestart)

Examples:
  rsv update
  rsv update app
  rsv update --dry-run     only say what would be done
  rsv -A -n update         the same of each host
  rsv -H 'web*' update --batch 25% --soak 10s

On the fleet it is an operation as `restart` is: a host has done its part when what was started for
it is RUNNING, and batches, gate and budget hold. --at-most-k-down takes one host at a time.

Exit codes: 0 done; 1 something is refused, or could not be stopped; 18 with --dry-run: there is
something to do; on the fleet otherwise as `restart`.";

pub(super) const ADD: &str = "\
Examples:
  rsv reread
  rsv add app
  rsv -H 'web*' add app";

pub(super) const REMOVE: &str = "\
Examples:
  rsv stop app
  rsv remove app
  rsv -H 'web*' remove app";

pub(super) const AVAIL: &str = "\
The columns: process, whether its group is supervised, whether it starts by itself, the priority
of its group and its own.

Examples:
  rsv avail
  rsv -o json avail
  rsv -A avail            of all hosts, folded";

pub(super) const RELOAD: &str = "\
Every program is stopped and started. A configuration that is refused is, before anything is
stopped. To change only what differs use `rsv update`.

On the fleet a host has done it when its new agent answers and its programs are RUNNING, or have
failed, which is said; the number of hosts is always asked for.

Examples:
  rsv reload
  rsv -H 'web*' reload --batch 25%

Exit codes on the fleet as `restart`.";

pub(super) const VERSION: &str = "\
`rsv --version` is the version of this command.

Examples:
  rsv version
  rsv -A version      the agents of the fleet, folded";

pub(super) const SHUTDOWN: &str = "\
On this machine it answers when the shutdown has begun; on the fleet a host has done it when all of
its programs are stopped, and the number of hosts is always asked for. A service manager may start
the agent again.

Examples:
  rsv shutdown
  rsv -c supervisord.conf shutdown
  rsv -H web07 shutdown

Exit codes on the fleet as `stop`.";

pub(super) const FG: &str = "\
Shows standard output and standard error as they come, and writes each typed line to the program's \
standard input. Ctrl-C, or the end of the input, leaves it; the program goes on. It has no form for \
scripts: -o json is refused.

Examples:
  rsv fg console
  rsv -s http://127.0.0.1:9001 fg app:console";

pub(super) const OPEN: &str = "\
It has no form for scripts: -o json is refused, and `rsv -s URL -o json status` has what it shows.

Examples:
  rsv open http://127.0.0.1:9001
  rsv open unix:///run/supervisor.sock";

pub(super) const HOST_LS: &str = "\
States: connected; unreachable (what is shown is what was last known); draining; never (enrolled, \
not seen since); revoked (its certificates are refused until it joins again). With -o wide also \
labels, the configuration in force (its number since the agent's start, and a digest that is the same \
where the same is supervised), what is wanted, and why a host is away.

Examples:
  rsv host ls
  rsv host ls 'web*'
  rsv -o json host ls";

pub(super) const HOST_SHOW: &str = "\
What is known of a host that is away is what was last known.

Examples:
  rsv host show web01
  rsv -o json host show 'web*&@state:unreachable'";

pub(super) const ENABLE: &str = "\
A program that starts by itself is started at once, or when its host returns.

Examples:
  rsv -H web01 enable app
  rsv -A enable 'work*'";

pub(super) const DISABLE: &str = "\
A disabled program is stopped, is not started by itself, also after a restart of its host and
without a controller, and a start of it is refused. Hosts that are away learn it when they return.
`status` says who disabled it and why.

Examples:
  rsv -H web01 disable app --reason 'leaks memory'
  rsv -H 'web*' disable 'work*'";

pub(super) const HOST_DRAIN: &str = "\
Works as `disable` does, for the host as a whole: what is configured later stays down, too.

Examples:
  rsv host drain web01 --reason 'new disk'
  rsv host drain 'web[01-04]'";

pub(super) const HOST_RESUME: &str = "\
What was disabled by itself stays down.

Examples:
  rsv host resume web01";

pub(super) const HOST_LABEL: &str = "\
Labels are kept by the controller and count at once, for -l, @GROUP and `host ls`. One that is set \
here, or that a token has brought, wins over a label of the same key in the host's own configuration, \
which is seen again when that is taken away.

Examples:
  rsv host label web01 role=web dc=fra
  rsv host label 'web*' canary-
  rsv -l role=web host label tier=front";

pub(super) const HOST_REVOKE: &str = "\
An open session is cut at once, and no certificate that the host has is accepted any more, also not \
after a restart of the controller. Its programs go on. It comes back with a token that is made \
afterwards: `rsv token create --host NAME`, and on the host `rsv-agent join --force --token TOKEN`. \
It has to be confirmed: without a terminal it needs --yes or --expect N.

Examples:
  rsv host revoke web01 --reason 'disk was stolen'
  rsv --yes host revoke 'old[01-04]'";

pub(super) const HOST_RM: &str = "\
The host is gone from the lists, with its labels, what was wanted of it and what was last known of it. \
One that is connected is refused: stop its agent first, or revoke it. A host that was revoked stays \
refused; any other one that connects again is a new one.

Examples:
  rsv host rm web01
  rsv host rm '@state:revoked'";

pub(super) const TOKEN_CREATE: &str = "\
The token is the last line on standard output. It carries the address and the identity of the
controller, and is a secret until it is used: paste it on the host.

Examples:
  rsv token create --host web04
  rsv token create --host 'web*' --ttl 1h --uses 10 --label role=web

On the host:
  rsv-agent join --token TOKEN";

pub(super) const CTX: &str = "\
A context holds the addresses of controllers, the fleet's root certificate, and your own
certificate and key. It is taken from --context, then RSV_CONTEXT, then the installed one in use.

Examples:
  rsv ctx import admin.context     install it, readable by you alone
  rsv ctx import admin.context --as prod     that of another fleet beside it
  rsv ctx ls
  rsv ctx use admin
  RSV_CONTEXT=admin.context rsv host ls     use a file as it is";

pub(super) const IMPORT: &str = "\
Reads the file and what it includes, and changes nothing. Each finding has its file and line, what \
Supervisor does, what is done here, and what can be done about it; at the end stand the [agent] section \
and the commands that switch this machine over.

Exit codes: 0 the agent takes the file as it is; 1 something has to be changed first; 2 there is no \
file, or it cannot be read at all.

Examples:
  rsv import
  rsv import /etc/supervisor/supervisord.conf
  rsv -o json import supervisord.conf";

pub(super) const COMPLETION: &str = "\
For bash, zsh and fish hosts, programs, groups, operations, labels and contexts are completed as well: \
they are asked for at the key, of the agent, or of the controller that the line means. What is not \
known within 0.15 seconds is not offered. What it prints is a script already: -o json is refused.

Examples:
  rsv completion bash > /etc/bash_completion.d/rsv
  rsv completion zsh > ~/.zfunc/_rsv
  rsv completion fish > ~/.config/fish/completions/rsv.fish";

pub(super) const MAN: &str = "\
Examples:
  rsv man /usr/local/share/man/man1
  rsv man . && man ./rsv-restart.1";
