"""The stand-in's VBoxSVC: one process that forks for each call of VBoxManage, as Python takes long to start."""

import os
import select
import signal
import socket
import sys

CLIENT = """#!%s
exec 9<>/dev/tcp/127.0.0.1/%d 6<&0 7>&1 8>&2 || exit 98
printf '%%s\\0' $# $$ '%s' "$@" >&9
read -r -u 9 rc
exit "${rc:-97}"
"""


def serve():
    """Serve until stdin ends; the port is the one line on stdout."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        print(server.getsockname()[1], flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while server in select.select([server, sys.stdin], [], [])[0]:
            client = server.accept()[0]
            if not os.fork():
                server.close()
                answer(client)
                os._exit(0)
            client.close()


def answer(client):
    """Run a call on the very files of its process; the exit code is the answer."""
    import vboxmanage
    text = b""
    while text.count(b"\0") < 3 or text.count(b"\0") < 3 + int(text.partition(b"\0")[0]):
        text += client.recv(65536)
    process, folder, *words = [word.decode("utf-8", "surrogateescape") for word in text.split(b"\0")[1:-1]]
    for number in range(3):  # its own 0 to 2 are others for a moment, while bash writes to us
        mode = os.O_WRONLY | os.O_APPEND if number else os.O_RDONLY
        os.dup2(os.open("/proc/%s/fd/%d" % (process, number + 6), mode), number)
    client.sendall(b"%d\n" % vboxmanage.main(words, folder))


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    import vboxmanage  # noqa: F401, once for all calls

    serve()
