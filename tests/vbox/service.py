"""The stand-in's VBoxSVC: one process that does the work of each VBoxManage, since Python takes long to start."""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import traceback

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
        own = [os.dup(number) for number in range(3)]
        while server.fileno() in select.select([server.fileno(), own[0]], [], [])[0]:
            with server.accept()[0] as client:
                serve_one(client, own)


def serve_one(client, own):
    text = b""
    while text.count(b"\0") < 3 or text.count(b"\0") < 3 + int(text.partition(b"\0")[0]):
        text += client.recv(65536)
    process, folder, *words = [word.decode("utf-8", "surrogateescape") for word in text.split(b"\0")[1:-1]]
    forks = may_wait(folder)
    if forks and os.fork():
        return
    with contextlib.suppress(OSError):  # of a client that was killed
        client.sendall(b"%d\n" % answer(process, folder, words))
    if forks:
        os._exit(0)
    for number in range(3):  # what the client reads must end
        os.dup2(own[number], number)


def may_wait(folder):
    """Whether there are rules: a call that sleeps or blocks must not hold up the others."""
    try:
        with open(os.path.join(folder, "state.json")) as file:
            return bool(json.load(file)["rules"])
    except OSError:
        return False


def answer(process, folder, words):
    """Run a call on the very files of its process; gives the exit code."""
    import vboxmanage
    for number in range(3):  # its own 0 to 2 are others for a moment, while bash writes to us
        mode = os.O_WRONLY | os.O_APPEND if number else os.O_RDONLY
        opened = os.open("/proc/%s/fd/%d" % (process, number + 6), mode)
        os.dup2(opened, number)
        os.close(opened)
    try:
        return vboxmanage.main(words, folder)
    except Exception:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    import vboxmanage  # noqa: F401, once for all calls

    serve()
