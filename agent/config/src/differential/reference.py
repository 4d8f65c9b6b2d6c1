"""Answers every case on stdin with what CPython itself makes of it, one line a case.

A case is `KIND HEX`, the input in hexadecimal UTF-8. The answer is `ok ...`, `no ...`, or `skip` where
this version of Python has another opinion than the versions that set the dialect.
"""

import configparser
import io
import shlex
import sys


def hexed(text):
    return text.encode("utf-8", "surrogatepass").hex()


def ini(data):
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=None).read()
    if sys.version_info >= (3, 13) and any(lockstep_matters(line) for line in text.split("\n")):
        return "skip"
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    try:
        parser.read_file(io.StringIO(text))
    except configparser.MissingSectionHeaderError as error:
        return "no header %d" % error.lineno
    except configparser.ParsingError as error:
        return "no lines %s" % ",".join(str(line) for line, _ in error.errors)
    sections = dict(parser._sections)
    if parser.defaults():
        sections["DEFAULT"] = parser.defaults()
    shown = []
    for name in sorted(sections):
        keys = sections[name]
        pairs = ["%s=%s" % (hexed(key), hexed(keys[key])) for key in keys]
        shown.append("%s:%s" % (hexed(name), ",".join(pairs)))
    return "ok " + ";".join(shown)


def lockstep_matters(line):
    """Whether the first comment sign behind a blank is not the one found by looking at the n-th of
    each sign together, as was done before 3.13."""
    starts = [
        index
        for index, char in enumerate(line)
        if char in ";#" and (index == 0 or line[index - 1].isspace())
    ]
    if not starts:
        return False
    signs = {sign: [i for i, c in enumerate(line) if c == sign] for sign in ";#"}
    for turn in range(len(line)):
        hits = [at[turn] for at in signs.values() if turn < len(at) and at[turn] in starts]
        if hits:
            return min(hits) != starts[0]
    return False


def environment(data):
    lexer = shlex.shlex(data.decode(), posix=True)
    lexer.wordchars += "/.+-():"
    try:
        words = list(lexer)
    except ValueError as error:
        return "no " + hexed(str(error))
    pairs = {}
    while words:
        if len(words) < 3 or words[1] != "=":
            return "no " + hexed("Unexpected end of key/value pairs in value '%s'" % data.decode())
        pairs[words[0]] = words[2]
        words = words[4:]
    return "ok " + ",".join("%s=%s" % (hexed(k), hexed(pairs[k])) for k in sorted(pairs))


def command(data):
    try:
        return "ok " + ",".join(hexed(word) for word in shlex.split(data.decode()))
    except ValueError as error:
        return "no " + hexed(str(error))


def expansion(data):
    names = {"a": "xyz", "n": 3, "m": -255, "ENV_E": "\u00e9%s\"'"}
    try:
        return "ok " + hexed(data.decode() % names)
    except KeyError as error:
        return "no name " + hexed(error.args[0])
    except Exception as error:
        return "no format " + hexed(str(error))


def integer(data):
    try:
        return "ok %d" % int(data.decode())
    except ValueError as error:
        return "no " + hexed(str(error))


def octal(data):
    try:
        return "ok %d" % int(data.decode(), 8)
    except ValueError:
        return "no"


def quoted(data):
    return "ok " + hexed(repr(data.decode()))


KINDS = {
    "ini": ini,
    "environment": environment,
    "command": command,
    "expansion": expansion,
    "integer": integer,
    "octal": octal,
    "quoted": quoted,
}

for case in sys.stdin:
    kind, _, data = case.strip().partition(" ")
    print(KINDS[kind](bytes.fromhex(data)))
