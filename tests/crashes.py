#!/usr/bin/env python3
"""Measures how long a crash takes to be seen: from SIGKILL of a program on a host to its line in `rsv -A events -f`.

    tests/crashes.py [-n HOSTS] [-k CRASHES] [DIRECTORY]

DIRECTORY has the binaries, by default target/release. The fleet is a controller and HOSTS agents with mutual TLS on
loopback; beside the events, the restart of the killed program is waited for.
"""

import argparse
import json
import os
import pathlib
import queue
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 60


class Fleet:
    """A fleet in a directory of its own, made by the adapter of the other measurements."""

    def __init__(self, binaries, hosts):
        self.at = pathlib.Path(tempfile.mkdtemp(prefix="crashes-"))
        self.binaries = binaries
        (self.at / "hosts.txt").write_text("".join(f"h{n:04} -\n" for n in range(1, hosts + 1)))
        program = self.at / "program"
        program.write_text("#!/bin/sh\nexec sleep 1000000\n")
        program.chmod(0o755)
        self.environment = dict(
            os.environ,
            RSVBIN=str(binaries),
            BCHILD=str(program),
            FLEETDIR=str(self.at),
            RSV_CONTEXT=str(self.at / "rsv/ctl/bench.context"),
        )
        self.adapter("f_prepare", hosts)
        self.adapter("f_up", hosts)

    def adapter(self, function, hosts):
        command = f'. "{HERE}/bench/rsv.sh" && {function} "{self.at}" {hosts}'
        done = subprocess.run(["bash", "-c", command], env=self.environment, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise SystemExit(f"{function}: {done.stderr.decode()}")

    def rsv(self, *arguments):
        return [str(self.binaries / "rsv"), *arguments]

    def pids(self):
        """The process of each host's `app`."""
        status = subprocess.run(
            self.rsv("-A", "-o", "json", "status", "app"), env=self.environment, stdout=subprocess.PIPE, check=True
        )
        programs = json.loads(status.stdout)["programs"]
        return {one["host"]: one["pid"] for one in programs if one["state"] == "RUNNING"}

    def down(self, hosts):
        self.adapter("f_down", hosts)
        deadline = time.monotonic() + PATIENCE
        pids = [int(pid) for pid in (self.at / "rsv/pids").read_text().split()]
        while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.1)
        shutil.rmtree(self.at, ignore_errors=True)


def seen(events, host, start):
    """The milliseconds until the first event of a host's `app`, and the process that runs after the last of them."""
    first = None
    while True:
        at, event = events.get(timeout=PATIENCE)
        if event.get("host") != host or event.get("program") != "app":
            continue
        first = first or (at - start) * 1000
        if event.get("state") == "RUNNING":
            return first, event["pid"]


def measure(fleet, hosts, crashes):
    pids = fleet.pids()
    if len(pids) != hosts:
        raise SystemExit(f"{len(pids)} of {hosts} programs run")
    follower = subprocess.Popen(
        fleet.rsv("-A", "-o", "jsonl", "events", "-f"), env=fleet.environment, stdout=subprocess.PIPE
    )
    events = queue.Queue()

    def read():
        for line in follower.stdout:
            at = time.monotonic()
            events.put((at, json.loads(line)))

    threading.Thread(target=read, daemon=True).start()
    try:
        # Nothing says that the events are followed; one that were missed would be waited for in vain.
        time.sleep(1)
        times = []
        for _ in range(crashes):
            host = random.choice(sorted(pids))
            # A program that has not been up for long is given a pause before its restart.
            time.sleep(random.uniform(0.05, 0.15))
            start = time.monotonic()
            os.kill(pids[host], signal.SIGKILL)
            took, pids[host] = seen(events, host, start)
            times.append(took)
    finally:
        follower.kill()
        follower.wait()
    times.sort()
    print(
        f"{hosts} hosts, {crashes} crashes: median {statistics.median(times):.2f} ms, "
        f"99 % within {times[min(len(times) - 1, len(times) * 99 // 100)]:.2f} ms, slowest {times[-1]:.2f} ms"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", dest="hosts", type=int, default=10)
    parser.add_argument("-k", dest="crashes", type=int, default=200)
    parser.add_argument("binaries", metavar="DIRECTORY", nargs="?", default=HERE.parent / "target/release")
    arguments = parser.parse_args()
    fleet = Fleet(pathlib.Path(arguments.binaries).resolve(), arguments.hosts)
    try:
        measure(fleet, arguments.hosts, arguments.crashes)
    finally:
        fleet.down(arguments.hosts)


if __name__ == "__main__":
    sys.exit(main())
