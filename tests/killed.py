"""Processes that make a machine of a driver and are killed at an act of theirs; what they did is on the disk then, and
nothing that they would have cleaned up.

As a program: killed.py STORE DRIVER, then lines "NAME NUMBER": a child makes that machine of the store, does NUMBER
acts that change something and is killed before the next. It prints "killed", or else "done", or a traceback.
"""

import os
import signal
import subprocess
import sys
import traceback

CHANGING = "open replace rename link unlink write truncate fork_exec".split()
"""C functions that open or change a file or begin a program. Those of the driver's and the core's code count."""


def is_act(frame, what):
    this = getattr(what, "__self__", None)
    ours = os.path.basename(frame.f_code.co_filename) in ("docker_machine.py", sys.argv[2] + ".py")
    return (what.__name__ in CHANGING and not isinstance(this, str) and this not in (sys.stdout, sys.stderr)
            and (ours or what.__name__ == "fork_exec"))


def child(driver, number):
    acts = []

    def profile(frame, event, what):
        if event == "c_call" and is_act(frame, what):
            acts.append(what)
            if len(acts) > number:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.setprofile(profile)
        driver.create()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def main():
    import docker_machine as core
    kind = core.load_driver(sys.argv[2])
    assert kind
    for line in sys.stdin:
        name, number = line.split()
        driver = core.Store(sys.argv[1]).machine(name).driver
        one = os.fork()
        if not one:
            child(driver, int(number))
        status = os.waitpid(one, 0)[1]
        print({0: "done", signal.SIGKILL: "killed"}.get(status, "failed"), flush=True)


class Killed:
    """Such a program, in `environ`."""

    def __init__(self, store, driver, environ):
        self.process = subprocess.Popen([sys.executable, __file__, store, driver], env=environ, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, universal_newlines=True)

    def create(self, name, number):
        """Gives "killed", or "done" if all was done by then, or "failed"."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("%s %d\n" % (name, number))
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.strip() in ("killed", "done", "failed"):
                return line.strip()
        raise AssertionError("it ended")

    def close(self):
        self.process.communicate()


if __name__ == "__main__":
    main()
