"""Makes the calls of Supervisor's interface, well and badly, at the server whose URL is given, and prints each
with its answer, one a line. What cannot be the same in two runs is replaced: process ids, moments, durations.
"""

import base64
import http.client
import re
import socket
import sys
import time
import xmlrpc.client

URL, CONFIGURATION = sys.argv[1:]
HOST, PORT = URL.split("@")[1].split("/")[0].split(":")
LOGIN = base64.b64encode(URL.split("//")[1].split("@")[0].encode()).decode()
CHANGING = ("pid", "start", "stop", "now")
LOGS = ("logfile", "stdout_logfile", "stderr_logfile")


def settled(value, key=None):
    """A value in words that two runs have in common; members keep their order."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {settled(of, name)}" for name, of in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(settled(of, key) for of in value) + "]"
    if key in CHANGING and type(value) is int:
        return "0" if value == 0 else "NUMBER"
    if key == "description":
        value = re.sub(r"^pid \d+, uptime \d+:\d\d:\d\d$", "pid N, uptime T", value)
        value = re.sub(r"^\w{3} \d\d \d\d:\d\d [AP]M$", "MOMENT", value)
    if key in LOGS:
        # Supervisor names them at random, and after a `reloadConfig` says `auto` for those that are open.
        value = re.sub(r"^(auto|.*-std(out|err)---\w+-\w+\.log)$", "AUTO", value)
    if isinstance(value, xmlrpc.client.Binary):
        return f"Binary({value.data!r})"
    return repr(value)


def say(label, answer):
    print(f"{label} -> {answer}", flush=True)


def answer(method, *arguments, show=settled):
    """What comes of a call, in words."""
    # Each its own connection: some answers end it.
    call = xmlrpc.client.ServerProxy(URL)
    for part in method.split("."):
        call = getattr(call, part)
    try:
        return show(call(*arguments))
    except xmlrpc.client.Fault as fault:
        return f"FAULT {fault.faultCode} {fault.faultString}"
    except xmlrpc.client.ProtocolError as error:
        return f"HTTP {error.errcode} {error.errmsg}"


def shown(arguments):
    texts = [repr(value) for value in arguments]
    return ", ".join(text if len(text) < 60 else text[:50] + "..." for text in texts)


def tell(method, *arguments, show=settled):
    if "." not in method:
        method = "supervisor." + method
    say(f"{method}({shown(arguments)})", answer(method, *arguments, show=show))


def eventually(claim):
    deadline = time.monotonic() + 60
    while not claim():
        if time.monotonic() > deadline:
            raise SystemExit("not in time")
        time.sleep(0.05)


def is_in(name, state):
    return f"statename: '{state}'" in answer("supervisor.getProcessInfo", name)


def raw(label, request, is_authorised=True):
    """What of the answer to a request is the same to the byte: its status, what the body is, and an XML body."""
    login = f"Authorization: Basic {LOGIN}\r\n" if is_authorised else ""
    with socket.create_connection((HOST, int(PORT)), 30) as connection:
        connection.sendall(request.replace("LOGIN", login).encode("latin-1"))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        body = answer.read()
    kind, realm = answer.getheader("Content-Type"), answer.getheader("WWW-Authenticate")
    assert int(answer.getheader("Content-Length")) == len(body)
    shown = body if kind == "text/xml" else ""
    say(label, f"HTTP/1.{answer.version % 10} {answer.status} {answer.reason}, {kind}, {realm} {shown!r}")


def post(body, more=""):
    length = len(body.encode("latin-1"))
    return f"POST /RPC2 HTTP/1.0\r\nLOGIN{more}Content-Length: {length}\r\n\r\n{body}"


def one_call(method, params=""):
    return f"<?xml version='1.0'?><methodCall><methodName>{method}</methodName>{params}</methodCall>"


def versions():
    for method in ("getAPIVersion", "getVersion", "getIdentification", "getState"):
        tell(method)
    tell("getPID", show=lambda pid: type(pid).__name__)
    tell("getSupervisorVersion", show=lambda version: type(version).__name__)


def introspection():
    tell("system.listMethods")
    methods = xmlrpc.client.ServerProxy(URL).system.listMethods()
    for method in methods:
        tell("system.methodSignature", method)
        tell("system.methodHelp", method, show=lambda text: type(text).__name__)
    for wrong in ("nope", "", "supervisor", "supervisor.", "supervisor.nope", "system.nope", "a.b.c", "_reread", 1):
        tell("system.methodSignature", wrong)
        tell("system.methodHelp", wrong)


def wrong_arguments():
    """Too few, too many, and of other types, for each method; nothing of it acts."""
    signatures = xmlrpc.client.ServerProxy(URL).system
    for method in signatures.listMethods():
        _, *takes = signatures.methodSignature(method)
        # What may be left out is no mistake.
        if takes and not method.startswith(("supervisor.startAll", "supervisor.stopAll")):
            tell(method)
        tell(method, *(["x"] * (len(takes) + 1)))
        tell(method, *([1] * (len(takes) + 2)))
    for method in ("nope", "supervisor.nope", "supervisor", "system.nope", "supervisor._update", "supervisor.getState.x",
                   "supervisor.supervisord.options", "supervisor.__class__", "x.getState", ".", ""):
        tell("system.multicall", [{"methodName": method, "params": []}])


def in_order(results):
    """What is told of many in the order in which they happen to be ready."""
    return settled(sorted(results, key=lambda one: (one["group"], one["name"])))


def one_or_in_order(answered):
    """What is told of one, or of many: `worker:` is a whole group."""
    return in_order(answered) if isinstance(answered, list) else settled(answered)


NAMES = ("nope", "nope:*", "nope:nope", "worker", "worker:", "worker:nope", ":", "", "web:*:*", "web ", "WEB", "caf\u00e9")


def wrong_names():
    for name in NAMES:
        for method in ("getProcessInfo", "startProcess", "stopProcess", "clearProcessLogs", "clearProcessLog",
                       "addProcessGroup", "removeProcessGroup", "startProcessGroup", "stopProcessGroup"):
            if name == "web:*:*" or (name == "worker" and method.endswith(("Group", "Process"))):
                continue
            tell(method, name, show=one_or_in_order)
        tell("signalProcess", name, "HUP")
        tell("signalProcessGroup", name, "HUP")
        tell("sendProcessStdin", name, "x")
        for method in ("readProcessLog", "readProcessStdoutLog", "readProcessStderrLog", "tailProcessLog",
                       "tailProcessStdoutLog", "tailProcessStderrLog"):
            tell(method, name, 0, 10)


def at_rest():
    tell("getAllProcessInfo")
    tell("getAllConfigInfo")
    for name in ("web", "worker:worker_0", "both:inner", "worker:*"):
        tell("getProcessInfo", name)
    tell("stopProcess", "web")
    tell("stopProcess", "web", False)
    tell("stopProcess", "worker:*")
    tell("stopProcessGroup", "worker")
    tell("stopAllProcesses")
    tell("signalProcess", "web", "HUP")
    tell("signalProcess", "worker:*", "HUP")
    tell("signalProcessGroup", "worker", "HUP")
    tell("signalAllProcesses", "HUP")
    tell("sendProcessStdin", "web", "x")
    for method in ("readProcessStdoutLog", "tailProcessStdoutLog", "readProcessStderrLog", "tailProcessStderrLog"):
        tell(method, "both:inner", 0, 10)


def one_process():
    tell("startProcess", "web")
    tell("getProcessInfo", "web")
    tell("getProcessInfo", "web:web")
    tell("startProcess", "web")
    tell("startProcess", "web", False)
    tell("startProcess", "web:*")
    for signal in ("CONT", "SIGCONT", "18", 18, "cont", "NOPE", "", "0", "99", "-1"):
        tell("signalProcess", "web", signal)
    tell("stopProcess", "web")
    tell("getProcessInfo", "web")
    tell("startProcess", "web", False)
    eventually(lambda: is_in("web", "RUNNING"))
    tell("stopProcess", "web", False)
    eventually(lambda: is_in("web", "STOPPED"))
    for name in ("bad", "once", "plain", "directory"):
        tell("startProcess", name)
        eventually(lambda: not is_in(name, "STARTING"))
        tell("getProcessInfo", name)
    tell("startProcess", "once", False)
    eventually(lambda: is_in("once", "FATAL"))
    tell("getProcessInfo", "once")
    tell("startProcess", "quick")
    eventually(lambda: is_in("quick", "EXITED"))
    tell("getProcessInfo", "quick")
    tell("stopProcess", "quick")
    tell("signalProcess", "quick", "HUP")


def groups():
    tell("startProcessGroup", "worker", show=in_order)
    tell("startProcessGroup", "worker", show=in_order)
    tell("startProcess", "worker:*", show=in_order)
    tell("getProcessInfo", "worker:worker_1")
    tell("signalProcessGroup", "worker", "CONT", show=in_order)
    tell("signalProcessGroup", "worker", "NOPE", show=in_order)
    tell("signalProcess", "worker:*", "CONT", show=in_order)
    tell("signalAllProcesses", "CONT", show=in_order)
    tell("signalAllProcesses", "NOPE", show=in_order)
    tell("stopProcess", "worker:worker_0")
    tell("stopProcessGroup", "worker", show=in_order)
    tell("startProcessGroup", "worker", False, show=in_order)
    eventually(lambda: is_in("worker:worker_1", "RUNNING"))
    tell("stopProcessGroup", "worker", False, show=in_order)
    eventually(lambda: is_in("worker:worker_0", "STOPPED") and is_in("worker:worker_1", "STOPPED"))
    tell("startProcess", "both:inner")
    tell("stopProcess", "both:*", show=in_order)


def logs():
    tell("startProcess", "cat")
    tell("sendProcessStdin", "cat", "one\ntwo\ncaf\u00e9 <&>\n")
    eventually(lambda: answer("supervisor.readProcessStdoutLog", "cat", 0, 0).endswith("&>\\n'"))
    for method in ("readProcessLog", "readProcessStdoutLog", "readProcessStderrLog", "tailProcessLog",
                   "tailProcessStdoutLog", "tailProcessStderrLog"):
        for offset, length in ((0, 0), (0, 3), (4, 3), (-3, 0), (-3, 2), (-1, 1), (3, -1), (0, -1), (100, 10), (-100, 0),
                               (0, 1000), (18, 5), (0, 18), (17, 1), (2147483647, 0), (-2147483648, 0)):
            tell(method, "cat", offset, length)
        tell(method, "cat", "0", "0")
        tell(method, "cat", 1.5, 3)
        tell(method, "cat", [], {})
        tell(method, "cat:*", 0, 5)
        tell(method, "nolog", 0, 5)
    tell("sendProcessStdin", "cat", 5)
    tell("sendProcessStdin", "cat", "")
    tell("sendProcessStdin", "cat:*", "x")
    tell("clearProcessLogs", "cat")
    tell("readProcessStdoutLog", "cat", 0, 0)
    tell("clearProcessLog", "cat")
    tell("clearProcessLogs", "nolog")
    tell("clearAllProcessLogs", show=in_order)
    tell("stopProcess", "cat")
    for method in ("readLog", "readMainLog"):
        tell(method, 0, 0, show=lambda text: type(text).__name__)
        for offset, length in ((-1, 1), (0, -1), (-1, 0), (1000000, 5)):
            tell(method, offset, length)
        tell(method, "x", "y")
    tell("clearLog")


def many_calls():
    tell("system.multicall", [])
    for calls in (
        [{"methodName": "supervisor.getState", "params": []}, {"methodName": "supervisor.getAPIVersion"}],
        [{"methodName": "supervisor.nope", "params": []}, {"methodName": "system.multicall", "params": [[]]}],
        [{"params": []}],
        [{}],
        [{"methodName": "supervisor.startProcess", "params": ["nope"]},
         {"methodName": "supervisor.startProcess", "params": ["web"]},
         {"methodName": "supervisor.stopProcess", "params": ["web"]},
         {"methodName": "supervisor.startProcess", "params": []}],
        [{"methodName": "system.listMethods", "params": [1]}, {"methodName": 5, "params": []}],
        [{"methodName": "supervisor.getState", "params": {}}],
        [5], ["x"], 5, "x", {}, [[]],
    ):
        tell("system.multicall", calls)


def events():
    tell("sendRemoteCommEvent", "type", "data")
    tell("sendRemoteCommEvent", "caf\u00e9", "\u20ac\n")
    tell("sendRemoteCommEvent", 1, 2)
    tell("sendRemoteCommEvent", "", "")


def append(text):
    with open(CONFIGURATION, "a") as file:
        file.write(text)


def configuration():
    with open(CONFIGURATION) as file:
        before = file.read()
    tell("reloadConfig")
    append("[program:new]\ncommand=/bin/sleep 1000\nautostart=false\nstartsecs=0\n[group:more]\nprograms=a,b\n"
           "[program:a]\ncommand=/bin/true\n[program:b]\ncommand=/bin/true\n")
    tell("reloadConfig")
    tell("reloadConfig")
    tell("getAllConfigInfo")
    tell("getProcessInfo", "new")
    tell("addProcessGroup", "new")
    tell("addProcessGroup", "new")
    tell("getProcessInfo", "new")
    tell("startProcess", "new")
    tell("removeProcessGroup", "new")
    tell("stopProcess", "new")
    tell("removeProcessGroup", "new")
    tell("removeProcessGroup", "new")
    tell("startProcess", "new")
    for broken in ("[program:x]\n", "[program:x]\ncommand=/bin/true\nnumprocs=many\n", "[program:x\n", "x\n",
                   "[program:x]\ncommand=%(nope)s\n", "[program:x]\ncommand=/bin/true\nautorestart=perhaps\n",
                   "[eventlistener:x]\ncommand=/bin/true\n", "[group:x]\nprograms=none\n",
                   "[eventlistener:x]\ncommand=/bin/true\nevents=NOPE\n"):
        with open(CONFIGURATION, "w") as file:
            file.write(before + broken)
        say("configuration", repr(broken))
        tell("reloadConfig")
    with open(CONFIGURATION, "w") as file:
        file.write(before.replace("[program:quick]", "[program:other]").replace("sleep 1002", "sleep 1003"))
    tell("reloadConfig")
    tell("removeProcessGroup", "quick")
    tell("getAllConfigInfo")
    with open(CONFIGURATION, "w") as file:
        file.write(before)
    tell("reloadConfig")


def on_the_wire():
    """Answers to the byte."""
    raw("a call", post(one_call("supervisor.getState")))
    raw("with parameters", post(one_call("supervisor.getState", "<params/>")))
    raw("text beyond ASCII", post(one_call("supervisor.sendRemoteCommEvent", "<params><param><value>&#233;</value></param>"
                                           "<param><value><string>\xc3\xa9</string></value></param></params>")))
    raw("a fault", post(one_call("supervisor.startProcess", "<params><param><value>no&lt;pe</value></param></params>")))
    raw("an array", post(one_call("supervisor.reloadConfig")))
    raw("no password", post(one_call("supervisor.getState")), False)
    raw("no password for a page", "GET / HTTP/1.0\r\n\r\n", False)
    raw("another scheme", "GET / HTTP/1.0\r\nAuthorization: Digest x\r\n\r\n", False)
    raw("no XML", post("nonsense"))
    raw("no method", post("<methodCall></methodCall>"))
    raw("no length", "POST /RPC2 HTTP/1.0\r\nLOGIN\r\n")
    raw("GET", "GET /RPC2 HTTP/1.0\r\nLOGIN\r\n")
    raw("a log of nobody", "GET /logtail/nope HTTP/1.0\r\nLOGIN\r\n")
    raw("a log without a name", "GET /logtail/ HTTP/1.0\r\nLOGIN\r\n")
    raw("a log of a process without one", "GET /logtail/nolog HTTP/1.0\r\nLOGIN\r\n")
    raw("no such page", "GET /nope.html HTTP/1.0\r\nLOGIN\r\n")


def end():
    for method in ("shutdown", "restart"):
        tell(method, 1)
    tell("startProcess", "stubborn")
    eventually(lambda: "up" in answer("supervisor.readProcessStdoutLog", "stubborn", 0, 0))
    tell("shutdown")
    eventually(lambda: "FAULT 6" in answer("supervisor.getState"))
    takes_words = ("startProcess", "stopProcess", "getProcessInfo", "addProcessGroup", "removeProcessGroup")
    for method in takes_words:
        tell(method, "web")
    for method in ("getState", "getAPIVersion", "getSupervisorVersion", "getIdentification", "getPID", "getAllProcessInfo",
                   "getAllConfigInfo", "reloadConfig", "clearLog", "startAllProcesses", "stopAllProcesses", "shutdown", "restart",
                   "system.listMethods"):
        tell(method, show=lambda value: type(value).__name__)
    tell("sendRemoteCommEvent", "a", "b")
    tell("readLog", 0, 0, show=lambda text: type(text).__name__)


for part in (versions, introspection, wrong_arguments, wrong_names, at_rest, one_process, groups, logs, many_calls, events,
             configuration, on_the_wire, end):
    print(f"== {part.__name__}", flush=True)
    part()
