"""A listener that notes every event, its headers and its payload, as one line of JSON in a file."""

import json
import sys

READ, NOTED = sys.stdin.buffer, open(sys.argv[1], "a", encoding="utf-8")


def say(text):
    sys.stdout.write(text)
    sys.stdout.flush()


while True:
    say("READY\n")
    line = READ.readline()
    if not line:
        break
    headers = dict(word.split(":", 1) for word in line.decode().split())
    payload = READ.read(int(headers["len"])).decode()
    print(json.dumps([line.decode(), payload]), file=NOTED, flush=True)
    say("RESULT 2\nOK")
