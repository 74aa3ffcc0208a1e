"""A program of the tests whose calls a function of the test's own process answers."""

import collections
import socketserver
import threading

# In bash, which starts ten times as fast as Python.
PROGRAM = """#!/bin/bash
name=${0##*/}
%sexec 3<>/dev/tcp/127.0.0.1/%d || exit
{ printf '%%s\\0' "$name" "$PPID" $# "$@"; /usr/bin/env -0; printf '\\0'; } >&3
read -r code <&3
IFS= read -r err <&3
printf %%b "$err" >&2
/bin/cat <&3
exit "$code"
"""
Call = collections.namedtuple("Call", "name words environ parent")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class Door:
    """Each path is a program. `answer` takes a Call (the program's name, its words, its environment, the id of the
    process that began it) and gives (exit code, stdout, stderr); it is called in threads, several at once.

    `first` are lines of bash that the programs run before, with $name and the words.
    """

    def __init__(self, answer, *paths, first=""):
        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                code, out, err = answer(read_call(self.request))
                escaped = err.replace("\\", "\\\\").replace("\n", "\\n")
                self.request.sendall(("%d\n%s\n%s" % (code, escaped, out)).encode())

        self.server = Server(("127.0.0.1", 0), Handler)
        for path in paths:
            path.write_text(PROGRAM % (first, self.server.server_address[1]))
            path.chmod(0o755)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def read_call(connection):
    """The Call that a program sends."""
    texts = read_texts(connection)
    name, parent, count = next(texts), int(next(texts)), int(next(texts))
    words = [next(texts) for _ in range(count)]
    return Call(name, words, dict(text.split("=", 1) for text in iter(texts.__next__, "")), parent)


def read_texts(connection):
    """Texts that end with a zero byte each."""
    rest = b""
    while True:
        data = connection.recv(1 << 16)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\0")
        for text in whole:
            yield text.decode()
