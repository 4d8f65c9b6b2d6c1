"""What scripts do to Supervisor with Python's own xmlrpc.client, at the server whose URL is given."""

import sys
import time
import xmlrpc.client

URL, CONFIGURATION = sys.argv[1:]
server = xmlrpc.client.ServerProxy(URL)
supervisor = server.supervisor


def is_same(got, expected):
    assert got == expected and type(got) is type(expected), f"{got!r} instead of {expected!r}"


def is_fault(code, text, method, *arguments):
    try:
        got = method(*arguments)
    except xmlrpc.client.Fault as fault:
        is_same((fault.faultCode, fault.faultString), (code, text))
    else:
        raise AssertionError(f"{got!r} instead of fault {code}")


def eventually(claim):
    deadline = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def versions():
    is_same(supervisor.getAPIVersion(), "3.0")
    is_same(supervisor.getVersion(), "3.0")
    is_same(supervisor.getIdentification(), "test")
    is_same(supervisor.getState(), {"statecode": 1, "statename": "RUNNING"})
    assert supervisor.getPID() > 1
    assert supervisor.getSupervisorVersion()


def introspection():
    methods = server.system.listMethods()
    assert len(methods) == 41 and methods == sorted(methods), methods
    is_same(server.system.methodSignature("supervisor.startProcess"), ["boolean", "string", "boolean"])
    assert "process" in server.system.methodHelp("supervisor.startProcess")
    is_fault(4, "SIGNATURE_UNSUPPORTED", server.system.methodSignature, "supervisor.nope")


def one_process():
    is_same(supervisor.startProcess("web"), True)
    info = supervisor.getProcessInfo("web")
    assert info["pid"] > 1 and info["start"] <= info["now"] and info["description"].startswith("pid ")
    is_same({key: info[key] for key in ("name", "group", "statename", "state", "stop", "exitstatus", "spawnerr")},
            {"name": "web", "group": "web", "statename": "RUNNING", "state": 20, "stop": 0, "exitstatus": 0,
             "spawnerr": ""})
    is_same(supervisor.getProcessInfo("web:web")["pid"], info["pid"])
    is_fault(60, "ALREADY_STARTED: web", supervisor.startProcess, "web")
    is_same(supervisor.signalProcess("web", "CONT"), True)
    is_fault(11, "BAD_SIGNAL: NOPE", supervisor.signalProcess, "web", "NOPE")
    is_same(supervisor.stopProcess("web"), True)
    is_same(supervisor.getProcessInfo("web")["statename"], "STOPPED")
    is_fault(70, "NOT_RUNNING: web", supervisor.stopProcess, "web")
    is_fault(10, "BAD_NAME: nope", supervisor.startProcess, "nope")
    is_fault(50, "SPAWN_ERROR: short", supervisor.startProcess, "short")
    is_fault(20, "NO_FILE: can't find command '/nonexistent'", supervisor.startProcess, "missing")


def groups():
    done = supervisor.startProcessGroup("worker")
    expected = {"group": "worker", "status": 80, "description": "OK"}
    is_same(done, [expected | {"name": "worker_0"}, expected | {"name": "worker_1"}])
    is_same(supervisor.signalProcessGroup("worker", "CONT"), done)
    is_same(supervisor.stopProcess("worker:*"), done)
    is_fault(10, "BAD_NAME: nope", supervisor.stopProcessGroup, "nope")
    names = [info["group"] + ":" + info["name"] for info in supervisor.getAllProcessInfo()]
    is_same(sorted(names), ["cat:cat", "missing:missing", "short:short", "web:web", "worker:worker_0",
                            "worker:worker_1"])


def logs():
    supervisor.startProcess("cat")
    # Text of every kind, over standard input into the log and back.
    text = "caf\u00e9 <&> \U0001f642\n"
    is_same(supervisor.sendProcessStdin("cat", text), True)
    length = len(text.encode())
    eventually(lambda: supervisor.readProcessStdoutLog("cat", 0, 0) == text)
    is_same(supervisor.tailProcessStdoutLog("cat", 0, 100), [text, length, False])
    is_same(supervisor.readProcessLog("cat", -1, 0), "\n")
    is_same(supervisor.readProcessStderrLog("cat", 0, 0), "")
    is_fault(3, "BAD_ARGUMENTS", supervisor.readProcessStdoutLog, "cat", -1, 1)
    is_same(supervisor.clearProcessLogs("cat"), True)
    is_same(supervisor.readProcessStdoutLog("cat", 0, 0), "")
    assert "spawned: 'cat'" in supervisor.readLog(0, 0)
    supervisor.stopProcess("cat")
    is_fault(70, "NOT_RUNNING: cat", supervisor.sendProcessStdin, "cat", "x")


def many_calls():
    # MultiCall of the library wants each answer in a list, where Supervisor gives it as it is.
    calls = [("getAPIVersion",), ("startProcess", "nope"), ("startProcess", "web"), ("getProcessInfo", "web")]
    calls = [{"methodName": "supervisor." + name, "params": params} for name, *params in calls]
    answers = server.system.multicall(calls)
    is_same(answers[:3], ["3.0", {"faultCode": 10, "faultString": "BAD_NAME: nope"}, True])
    is_same(answers[3]["statename"], "RUNNING")
    is_same(server.system.multicall([{"methodName": "supervisor.nope", "params": []}]),
            [{"faultCode": 1, "faultString": "UNKNOWN_METHOD"}])


def wrong_calls():
    is_fault(1, "UNKNOWN_METHOD", supervisor.nope)
    is_fault(1, "UNKNOWN_METHOD", server.nope)
    is_fault(2, "INCORRECT_PARAMETERS", supervisor.getState, 1)
    is_fault(2, "INCORRECT_PARAMETERS", supervisor.startProcess)


def configuration():
    with open(CONFIGURATION, "a") as file:
        file.write("[program:new]\ncommand=/bin/sleep 1000\nautostart=false\nstartsecs=0\n")
    is_same(supervisor.reloadConfig(), [[["new"], [], []]])
    infos = {info["name"]: info for info in supervisor.getAllConfigInfo()}
    is_same(infos["new"]["inuse"], False)
    is_same(supervisor.addProcessGroup("new"), True)
    is_fault(90, "ALREADY_ADDED: new", supervisor.addProcessGroup, "new")
    supervisor.startProcess("new")
    is_fault(91, "STILL_RUNNING: new", supervisor.removeProcessGroup, "new")
    supervisor.stopProcess("new")
    is_same(supervisor.removeProcessGroup("new"), True)
    is_fault(10, "BAD_NAME: new", supervisor.removeProcessGroup, "new")
    is_same(supervisor.sendRemoteCommEvent("type", "data"), True)


def passwords():
    scheme, rest = URL.split("://")
    address = rest.rsplit("@")[1]
    for guess in ("", "user:guessed@", "other:pass%20word@"):
        try:
            xmlrpc.client.ServerProxy(f"{scheme}://{guess}{address}").supervisor.getState()
        except xmlrpc.client.ProtocolError as error:
            is_same((error.errcode, error.errmsg), (401, "Unauthorized"))
        else:
            raise AssertionError(f"`{guess}` is let in")


def end():
    is_same(supervisor.shutdown(), True)


for part in (versions, introspection, one_process, groups, logs, many_calls, wrong_calls, configuration, passwords, end):
    part()
    print(part.__name__, flush=True)
