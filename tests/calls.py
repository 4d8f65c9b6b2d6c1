#!/usr/bin/env python3
"""Measures getAllProcessInfo of many programs, over the Unix socket, from the first byte sent to the last received.

    tests/calls.py [-n PROGRAMS] [-r ROUNDS] DAEMON...

Each DAEMON is a program that takes `-n -c FILE`, such as target/release/rsv-agent or a supervisord; they are measured
one after the other with the same configuration, and the same client.
"""

import argparse
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import xmlrpc.client

CONFIGURATION = """\
[supervisord]
logfile={at}/main.log
pidfile={at}/s.pid
childlogdir={at}
minfds=20000
[unix_http_server]
file={at}/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[program:p]
command=/bin/sleep 1000000
numprocs={programs}
process_name=%(program_name)s_%(process_num)04d
startsecs=0
stdout_logfile=NONE
stderr_logfile=NONE
"""

PATIENCE = 120


def call(path, method):
    """The answer to a call without arguments, and the seconds until all of it was there."""
    body = f"<methodCall><methodName>{method}</methodName></methodCall>".encode()
    head = f"POST /RPC2 HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        start = time.perf_counter()
        connection.sendall(head + body)
        pieces = []
        while piece := connection.recv(1 << 20):
            pieces.append(piece)
        took = time.perf_counter() - start
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise OSError(head.decode())
    return body, took


def running(path, programs):
    """Whether every program runs."""
    try:
        body, _ = call(path, "supervisor.getAllProcessInfo")
    except OSError:
        return False
    ((infos,), _) = xmlrpc.client.loads(body)
    return sum(info["statename"] == "RUNNING" for info in infos) == programs


def measure(daemon, programs, rounds):
    at = pathlib.Path(tempfile.mkdtemp(prefix="calls-"))
    (at / "s.conf").write_text(CONFIGURATION.format(at=at, programs=programs))
    process = subprocess.Popen(
        [daemon, "-n", "-c", str(at / "s.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=at
    )
    path = str(at / "s.sock")
    try:
        deadline = time.monotonic() + PATIENCE
        while not running(path, programs):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"{daemon}: {programs} programs do not run")
            time.sleep(0.2)
        body, times = b"", []
        for _ in range(rounds):
            body, took = call(path, "supervisor.getAllProcessInfo")
            times.append(took * 1000)
        times.sort()
        print(
            f"{daemon}: {programs} programs, {rounds} calls of {len(body)} bytes: "
            f"median {statistics.median(times):.1f} ms, "
            f"95 % within {times[min(len(times) - 1, len(times) * 95 // 100)]:.1f} ms, fastest {times[0]:.1f} ms"
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        shutil.rmtree(at, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", dest="programs", type=int, default=1000)
    parser.add_argument("-r", dest="rounds", type=int, default=50)
    parser.add_argument("daemons", metavar="DAEMON", nargs="+")
    arguments = parser.parse_args()
    for daemon in arguments.daemons:
        measure(os.path.abspath(daemon), arguments.programs, arguments.rounds)


if __name__ == "__main__":
    sys.exit(main())
