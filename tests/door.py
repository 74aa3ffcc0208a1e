"""A program of the tests whose calls a function of the test's own process answers."""

import collections
import json
import socketserver
import sys
import threading

PROGRAM = """#!%s -IS
import json, os, socket, sys
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
%swith socket.create_connection(("127.0.0.1", %d)) as door:
    door.sendall(json.dumps([name, words, dict(os.environ), os.getppid()]).encode() + b"\\n")
    code, out, err = json.loads(door.makefile().read())
sys.stdout.buffer.write(out.encode())
sys.stderr.buffer.write(err.encode())
sys.exit(code)
"""
Call = collections.namedtuple("Call", "name words environ parent")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class Door:
    """Each path is a program. `answer` takes a Call (the program's name, its words, its environment, the id of the
    process that began it) and gives (exit code, stdout, stderr); it is called in threads, several at once.

    `first` are lines of Python that the programs run before, with `name` and `words`.
    """

    def __init__(self, answer, *paths, first=""):
        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                call = Call(*json.loads(self.rfile.readline().decode()))
                self.wfile.write(json.dumps(answer(call)).encode())

        self.server = Server(("127.0.0.1", 0), Handler)
        for path in paths:
            path.write_text(PROGRAM % (sys.executable, first, self.server.server_address[1]))
            path.chmod(0o755)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
