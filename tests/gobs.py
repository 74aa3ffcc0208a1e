"""Connections of Docker Machine with its plugins, as they were recorded: tests/data/plugin.

NAME.c2s.bin and NAME.s2c.bin are the bytes of each direction. values.json has, for each recording and direction, what
an independent decoder found: [offset, length, value], where {"bytes": text} is a byte slice and
{"type": name, "value": value} an interface.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "data" / "plugin"
VALUES = json.loads((FOLDER / "values.json").read_text(encoding="utf-8"))
NAMES = sorted(VALUES)
START = {"c2s": b"CONNECT /_goRPC_ HTTP/1.0\n\n", "s2c": b"HTTP/1.0 200 Connected to Go RPC\n\n"}


def recorded(name, side):
    """The bytes after the handshake."""
    data = (FOLDER / ("%s.%s.bin" % (name, side))).read_bytes()
    assert data.startswith(START[side])
    return data[len(START[side]):]


def values(name, side):
    """[(the bytes, with the definitions before it, and the value as Decoder gives it)]."""
    data = START[side] + recorded(name, side)
    return [(data[offset:offset + length], plain(value)) for offset, length, value in VALUES[name][side][1:]]


def plain(value):
    if isinstance(value, list):
        return [plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"bytes"}:
        return value["bytes"].encode()
    if set(value) == {"type", "value"}:
        return value["type"], plain(value["value"])
    return {name: plain(each) for name, each in value.items()}
