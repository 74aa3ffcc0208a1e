# SPDX-License-Identifier: Apache-2.0
"""Driver "sleeper": a virtual machine that is a sleeping process, for the tests of LocalVM.

Its disk is a copy of a file, which is also what its console says when it boots; one that ends with
the word "panic" goes off at once. It listens at the machine's ports and closes every connection.
"""

import os
import sys

from docker_machine import (
    RUNNING,
    STOPPED,
    Flag,
    LocalVM,
    MachineError,
    read_text,
    run,
    wait_for,
    write_atomic,
)

# It comes back as soon as the machine runs; a lock on the file "running" is held while it does.
HYPERVISOR = """
import fcntl, os, select, socket, sys
held = open("running", "a")
fcntl.flock(held, fcntl.LOCK_EX)
servers = [socket.socket() for port in sys.argv[1:]]
for server, port in zip(servers, sys.argv[1:]):
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", int(port)))
    server.listen(8)
disk = open("disk").read()
with open("console.log", "a") as console:
    console.write(disk)
child = os.fork()
if child:
    with open("pid", "w") as pid:
        pid.write("%d" % child)
    os._exit(0)
os.setsid()
for stream in range(3):
    os.dup2(os.open(os.devnull, os.O_RDWR), stream)
if disk.rstrip().endswith("panic"):
    sys.exit()
for minute in range(10):
    for server in select.select(servers, [], [], 60)[0]:
        server.accept()[0].close()
"""


class SleeperDriver(LocalVM):
    """A process of this computer that sleeps."""

    name = "sleeper"
    most_cpus = 64
    ports = (("SSHPort", "SSH"), ("EnginePort", "Docker Engine"))
    flags = (
        Flag("sleeper-memory", 64, "Memory, in MB", "SLEEPER_MEMORY", field="Memory", least=16),
        Flag("sleeper-cpu-count", 1, "Number of CPUs (-1 for as many as this computer has)",
             "SLEEPER_CPU_COUNT", field="CPU", least=-1, most=64),
        Flag("sleeper-disk-size", 100, "Size of the disk, in MB", "SLEEPER_DISK_SIZE",
             field="DiskSize", least=1),
        Flag("sleeper-image", "", "File that the disk begins with", "SLEEPER_IMAGE", field="Image",
             required=True),
    )
    fields = (("EnginePort", 0),)

    def pre_create_check(self):
        super().pre_create_check()
        if not os.path.isfile(self["Image"]):
            raise MachineError("There is no image %s." % self["Image"], "Name one that is there.")
        self.check_disk(os.path.getsize(self["Image"]))

    def create(self):
        self.make_ssh_keys()
        self.write_seed("seed.iso", {"ethernets": {}}, runcmd=[["true"]])
        if not os.path.exists(self.path("disk")):
            write_atomic(self.path("disk"), read_text(self["Image"]))
        if self.get_state() != RUNNING:
            self.start()

    def start(self):
        self.settle_ports()
        result = run([sys.executable, "-c", HYPERVISOR] + [str(self[key]) for key, _ in self.ports],
                     cwd=self.folder)
        if not result.ok:
            raise MachineError("The machine does not start: " + result.last_words(1))

    def check_boot(self):
        if self.get_state() != RUNNING:
            raise self.went_off("Take another image.")

    def stop(self):
        self.shut_down(lambda: self._signal(15))

    def kill(self):
        self._signal(9)
        wait_for(lambda: self.get_state() == STOPPED, 10, "The process does not end.")

    def _signal(self, number):
        if self.get_state() == RUNNING:
            os.kill(int(read_text(self.path("pid"))), number)

    def remove(self):
        self.kill()

    def get_state(self):
        import fcntl
        if not os.path.exists(self.path("running")):
            return STOPPED
        with open(self.path("running")) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return RUNNING
        return STOPPED

    def engine_port(self):
        return self.get("EnginePort", 0)

    def listen_port(self):
        return super().engine_port()
