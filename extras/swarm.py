# SPDX-License-Identifier: Apache-2.0
"""Swarm mode, the cluster that the engine has itself: the command `swarm`, and what `create`,
`start`, `ls` and `rm` do for the machines of a cluster. All by the engines' API over TLS."""

import contextlib
import os
from urllib.parse import quote as escaped

import docker_machine as dm

if False:  # for type checkers
    import typing  # noqa: F401

PORT = 2377  # of managers among themselves
KEY_FILE = "swarm-unlock-key"  # in the folder of a manager that a command locked
FLAGS = {flag.name: flag for flag in dm.CREATE_FLAGS}


# --- what an engine says

@contextlib.contextmanager
def understood(machine):
    """Make a MachineError of whatever an answer lacks, which may be anybody's."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise dm.MachineError("What an engine answered about the cluster of %s cannot be used: %r"
                              % (machine.name, error)) from error


def node_of(engine, seconds=20):
    """What an engine knows of itself, {"LocalNodeState", "ControlAvailable", "NodeID", ...}.
    Raises MachineError."""
    node = engine.call("GET", "/info", seconds=seconds).get("Swarm")
    return node if isinstance(node, dict) else {}


def is_active(node):
    return node.get("LocalNodeState") == "active"


def is_manager(node):
    return is_active(node) and node.get("ControlAvailable") is True


def nodes_of(engine, seconds=20):
    """The nodes of a cluster, {id: node}, as one of its managers sees them. Raises MachineError."""
    rows = engine.call("GET", "/nodes", seconds=seconds, kind=list)
    return {row["ID"]: row for row in rows if isinstance(row, dict) and "ID" in row
            and isinstance(row.get("Spec"), dict)}


def role_of(node):
    """down, leader, manager or worker: what a manager says of a node."""
    if (node.get("Status") or {}).get("State") == "down":
        return "down"
    if (node.get("ManagerStatus") or {}).get("Leader"):
        return "leader"
    return dm.plain_words(str((node.get("Spec") or {}).get("Role")))


def locked(machine):
    return dm.MachineError("The cluster of %s is locked." % machine.name,
                           "Unlock it: docker-machine swarm unlock " + dm.quote(machine.name))


def no_member(machine):
    name = dm.quote(machine.name)
    return dm.MachineError(
        "%s is in no cluster." % machine.name, "Begin one: docker-machine swarm init %s\nOr join "
        "one: docker-machine swarm join --to MANAGER %s" % (name, name))


# --- finding managers

def members(store, machine):
    """The other machines of the store that are said to be in the cluster of a machine, managers
    first."""
    found = [store.machine(name) for name in store.names() if name != machine.name
             and in_cluster(store, name) == machine.swarm.get("Cluster", "none")]
    return sorted(found, key=lambda one: one.swarm.get("Mode") != "manager")


def in_cluster(store, name):
    """The cluster that a machine is said to be in, or ""."""
    try:
        with store.machine(name) as machine:
            return str(machine.swarm.get("Cluster") or "")
    except dm.MachineError:
        return ""


def manager_near(machine):
    """The Engine of a manager that answers, not of the machine itself; None where there is none."""
    for other in members(machine.store, machine):
        try:
            engine = other.docker()
            if is_manager(node_of(engine, 10)):
                return engine
        except dm.MachineError as error:
            dm.out.debug(error.message)
    return None


def manager_of(machine):
    """(Engine, node) of the machine if it is a manager, else of another one of its cluster.
    Raises MachineError."""
    engine = machine.docker()
    node = node_of(engine)
    if node.get("LocalNodeState") == "locked":
        raise locked(machine)
    if is_manager(node):
        return engine, node
    if not is_active(node):
        raise no_member(machine)
    rows = node.get("RemoteManagers") or ()
    hosts = {dm.split_url(row["Addr"])[0] for row in rows}
    numbers = {row["NodeID"] for row in rows}
    for name in machine.store.names():
        try:
            other = machine.store.machine(name)
            near = other.docker()
            if near.host in hosts or other.swarm.get("Node") in numbers:
                found = node_of(near, 10)
                if is_manager(found) and found.get("NodeID") in numbers:
                    return near, found
        except dm.MachineError as error:
            dm.out.debug(error.message)
    raise dm.MachineError("No manager of the cluster of %s is a machine of this store that answers."
                          % machine.name, "Its managers are at: " + ", ".join(sorted(hosts)))


# --- into a cluster

def check(store, options, driver_class):
    """Refuse what `create` cannot do. Raises UsageError or MachineError; nothing was made."""
    mode, to = options["swarm-mode"], options["swarm-join"]
    if not mode:
        raise dm.UsageError("--swarm-join, --swarm-label and --swarm-advertise-addr are for "
                            "machines of --swarm-mode.", "Say --swarm-mode manager or worker.")
    if not driver_class.provisions:
        raise dm.UsageError("The driver %s does not set engines up." % driver_class.name, "For "
                            "an engine that runs: docker-machine swarm init NAME, or join")
    if options["swarm"] or options["swarm-master"]:
        raise dm.UsageError("--swarm-mode is the engine's own Swarm; --swarm and --swarm-master "
                            "are the old one.", "Leave one of them out.")
    if mode == "worker" and not to:
        raise dm.UsageError("A worker needs a cluster.", "Name one of its machines: --swarm-join "
                            "NAME")
    if any(text.partition("=")[0] == "live-restore" and not text.endswith("=false")
           for text in options["engine-opt"]):
        raise dm.UsageError("An engine with live-restore cannot be in a cluster.",
                            "Leave out --engine-opt live-restore.")
    if to:
        with store.machine(to) as machine:
            manager_of(machine)


def enter(machine):
    """Make the engine of a machine the node that is stored, if it is not. Raises MachineError."""
    swarm, engine = machine.swarm, machine.docker()
    with dm.stage("Error configuring Swarm mode: "), understood(machine):
        node = node_of(engine)
        if node.get("LocalNodeState") == "locked":
            raise locked(machine)
        if swarm.get("Node"):
            return check_member(machine, engine)
        if is_active(node):
            same_cluster(machine, node)
        else:
            check_live_restore(machine, engine)
            if swarm.get("Join"):
                join(machine, engine, await_target(machine, swarm["Join"]))
            else:
                init(machine, engine)
            node = node_of(engine)
        set_labels(machine, node["NodeID"])
        remember(machine, node)


def check_member(machine, engine):
    """Raise MachineError unless a machine is the node that it became once: it never begins or joins
    a cluster again by itself. Its engine may have been started just now."""
    def settled():
        return node_of(engine).get("LocalNodeState") not in ("pending", "error")

    if not dm.wait_for(settled, 60, ""):
        raise dm.MachineError("%s does not reach the managers of its cluster." % machine.name,
                              "Start them, or take it out: docker-machine swarm leave "
                              + dm.quote(machine.name))
    if node_of(engine).get("NodeID") != machine.swarm["Node"]:
        raise dm.MachineError("%s is not in its cluster any more." % machine.name,
                              "Forget that: docker-machine swarm leave " + dm.quote(machine.name))


def await_target(machine, name):
    """The machine whose cluster is to be joined, when its own creation has ended, which may be
    under way in this very command. Raises MachineError."""
    store = machine.store
    if store.unfinished(name):
        dm.out.hear("Waiting for %s..." % name)
        lock = store.lock(name)
        lock.seconds = 3600
        with lock:
            pass
    if not store.exists(name) or store.unfinished(name):
        raise dm.MachineError("%s was not finished, and %s waits to join its cluster." % (
            name, machine.name), "Finish them: docker-machine provision %s %s" % (
                dm.quote(name), dm.quote(machine.name)))
    return store.machine(name)


def check_live_restore(machine, engine):
    if engine.call("GET", "/info").get("LiveRestoreEnabled"):
        raise dm.MachineError(
            "The engine of %s has live-restore on, with which it cannot be in a cluster."
            % machine.name, "Turn it off: docker-machine set --unset --engine-opt live-restore %s"
            "\nOr, where it is in the host's own /etc/docker/daemon.json, there."
            % dm.quote(machine.name))


def advertised(machine):
    """Where peers find a machine: what the user said, else its address, except for a loopback one,
    which the engine replaces by its own."""
    given = machine.swarm.get("AdvertiseAddr") or ""
    address = machine.driver.get_ip()
    if given or address.startswith("127.") or address == "::1":
        return given
    return address


def listening(machine):
    return "%s:%d" % ("[::]" if ":" in machine.driver.get_ip() else "0.0.0.0", PORT)


def init(machine, engine, more=None):
    body = dict(more or {}, ListenAddr=listening(machine), AdvertiseAddr=advertised(machine))
    dm.out.say("Beginning a cluster...")
    engine.call("POST", "/swarm/init", dict({"Spec": {}}, **body), 180, kind=str)


def join(machine, engine, target):
    """Join the cluster of another machine. The engine goes on trying when it does not answer in
    time, so its state counts. Raises MachineError."""
    near, node = manager_of(target)
    tokens = near.call("GET", "/swarm")["JoinTokens"]
    managers = [row["Addr"] for row in node.get("RemoteManagers") or ()]
    first = dm.join_url(near.host, PORT)[len("tcp://"):]
    role = machine.swarm.get("Mode") or "worker"
    dm.out.say("Joining the cluster of %s as a %s..." % (target.name, role))
    try:
        engine.call("POST", "/swarm/join", {
            "ListenAddr": listening(machine), "AdvertiseAddr": advertised(machine),
            "RemoteAddrs": sorted(managers, key=lambda address: address != first),
            "JoinToken": tokens["Manager" if role == "manager" else "Worker"]})
    except dm.RestError as error:
        pending = dm.wait_for(lambda: node_of(engine).get("LocalNodeState") != "pending", 60, "")
        if not pending or not is_active(node_of(engine)):
            if node_of(engine).get("LocalNodeState") != "inactive":  # it would go on for ever
                engine.call("POST", "/swarm/leave?force=1")
            raise dm.MachineError(
                "%s cannot join the cluster of %s: %s" % (machine.name, target.name, error.words),
                "Both must reach each other's ports 2377 and 7946 (TCP), 7946 and 4789 (UDP); its "
                "managers are at %s.\nThen: docker-machine provision %s" % (
                    ", ".join(managers), dm.quote(machine.name)))
    dm.wait_for(lambda: is_active(node_of(engine)), 60,
                "%s did not become a node of the cluster within 60 s." % machine.name)


def same_cluster(machine, node):
    """Raise MachineError unless a node is in the cluster that it is to join, if any."""
    if not machine.swarm.get("Join"):
        return
    target = machine.store.machine(machine.swarm["Join"])
    engine, _ = manager_of(target)
    if node.get("NodeID") not in nodes_of(engine):
        raise dm.MachineError(
            "%s is in another cluster than %s." % (machine.name, target.name),
            "Take it out of that one: docker-machine swarm leave " + dm.quote(machine.name))


def remember(machine, node):
    """Keep which node of which cluster a machine is."""
    swarm = machine.swarm
    swarm["Node"], swarm["Mode"] = node["NodeID"], "manager" if is_manager(node) else "worker"
    engine, _ = manager_of(machine)
    swarm["Cluster"] = engine.call("GET", "/swarm")["ID"]
    machine.save()


def forget(machine):
    for key in ("Node", "Mode", "Join", "Cluster", "NodeLabels", "AdvertiseAddr"):
        machine.swarm.pop(key, None)
    if os.path.exists(os.path.join(machine.folder, KEY_FILE)):
        os.unlink(os.path.join(machine.folder, KEY_FILE))
    machine.save()


def set_labels(machine, node_id):
    labels = dict(text.partition("=")[::2] for text in machine.swarm.get("NodeLabels") or ())
    if labels:
        engine, _ = manager_of(machine)
        update(engine, node_id,
               lambda spec: spec.update(Labels=dict(spec.get("Labels") or {}, **labels)))


def update(engine, node_id, change):
    """change(spec) of a node, done by a manager. Its whole spec is sent, of the version that was
    read: where another one was faster it is read again. Raises RestError."""
    for tries in range(10, 0, -1):
        node = engine.call("GET", "/nodes/" + node_id)
        before, spec = str(node["Spec"]), node["Spec"]
        change(spec)
        if str(spec) == before:
            return
        try:
            path = "/nodes/%s/update?version=%d" % (node_id, node["Version"]["Index"])
            engine.call("POST", path, spec)
            return
        except dm.RestError as error:
            if "out of sequence" not in error.words or tries == 1:
                raise


# --- out of a cluster

def leave(machine, end):
    """Take a machine out of its cluster: no tasks any more, no manager, left, forgotten by the
    rest. `end`: the cluster may end with it. Raises MachineError."""
    with dm.Lock(os.path.join(machine.store.path, "locks", ".swarm-mode"), "The cluster",
                 600), understood(machine):
        _leave(machine, end)


def _leave(machine, end):
    node_id, node = machine.swarm.get("Node"), {}
    own = None  # type: typing.Any
    try:
        own = machine.docker()
        node = node_of(own, 10)
        node_id = node.get("NodeID") or node_id
    except dm.MachineError as error:
        if own and not isinstance(error, dm.Unreachable):
            raise
        dm.out.debug(error.message)
    manager = manager_for(machine, node, end)
    if manager and node_id in nodes_of(manager):
        empty(machine, manager, node_id, is_active(node))
    if node.get("LocalNodeState", "inactive") != "inactive":
        dm.out.say("%s leaves its cluster..." % machine.name)
        if manager and is_manager(node):
            dm.wait_for(lambda: not is_manager(node_of(own)), 60,
                        "%s is still a manager after 60 s." % machine.name)
        own.call("POST", "/swarm/leave?force=1")
    if manager and not is_own(manager, machine):  # also one that left by hand
        dm.wait_for(lambda: is_deleted(manager, node_id), 60,
                    "The cluster does not let go of %s." % machine.name)


def manager_for(machine, node, end):
    """The Engine of a manager that takes a node out of its cluster, which may be its own; None
    where there is none. Raises MachineError for the last one that must not go."""
    near = manager_near(machine)
    if near:
        return near
    own = machine.docker()
    if is_manager(node):
        rows = nodes_of(own)
        if [one["Spec"]["Role"] for one in rows.values()].count("manager") > 1:
            return own
        if len(rows) > 1 and not end:
            raise dm.MachineError("%s is the last manager of its cluster, which ends with it."
                                  % machine.name, "If it may: --force")
    elif is_active(node):
        try:
            return manager_of(machine)[0]
        except dm.MachineError as error:
            dm.out.debug(error.message)
    return None


def is_own(engine, machine):
    """Whether an Engine is that of a machine."""
    try:
        return engine.url == machine.docker().url
    except dm.MachineError:
        return False


def is_deleted(manager, node_id):
    """Whether a cluster forgets a node, which may be gone already; not while a manager that was
    demoted just now still counts as one."""
    try:
        manager.call("DELETE", "/nodes/%s?force=1" % node_id)
    except dm.RestError as error:
        if "raft" in error.words or "demote" in error.words:
            return False
        if error.status != 404:
            raise
    return True


def empty(machine, manager, node_id, reachable):
    """Drain and demote a node, and wait until its tasks are gone, 60 s at most."""
    check_quorum(machine, manager, node_id)

    def change(spec):
        spec.update(Availability="drain", Role="worker")

    try:
        update(manager, node_id, change)
    except dm.RestError as error:
        if "memberlist" not in error.words:  # of one that --force-new-cluster left behind
            raise
    if reachable:
        wanted = escaped(dm.json_text({"node": [node_id]}))

        def is_empty():
            tasks = manager.call("GET", "/tasks?filters=" + wanted, kind=list)
            return not any(task["Status"]["State"] in ("running", "starting", "preparing")
                           for task in tasks)

        dm.out.hear("Waiting until the tasks of %s have gone..." % machine.name)
        if not dm.wait_for(is_empty, 60, ""):
            dm.out.warn("Tasks of %s still ran after 60 s." % machine.name)


def check_quorum(machine, manager, node_id):
    """Raise MachineError if the managers that are left cannot agree on anything."""
    states = {key: (node.get("ManagerStatus") or {}).get("Reachability")
              for key, node in nodes_of(manager).items() if node["Spec"]["Role"] == "manager"}
    if states.get(node_id) != "reachable":  # the others agree without it as well
        return
    up = [key for key, state in states.items() if state == "reachable" and key != node_id]
    if len(up) * 2 <= len(states) - 1:
        raise dm.MachineError(
            "Without %s only %d of %d managers are reached, too few to agree." % (
                machine.name, len(up), len(states) - 1),
            "Start others first, or promote workers: docker-machine swarm promote NAME")


def last_ones(store, names):
    """The managers among these machines with which a cluster ends that has other nodes too."""
    machines = [store.machine(name) for name in names if in_cluster(store, name)]
    going = {machine.swarm.get("Node") for machine in machines}

    def is_last(machine):
        engine = machine.docker()
        if not is_manager(node_of(engine, 10)):
            return False
        nodes = nodes_of(engine, 10)
        managers = {key for key, row in nodes.items() if row["Spec"]["Role"] == "manager"}
        return managers <= going and not set(nodes) <= going

    return [machine.name for machine, last in zip(machines, dm.each(is_last, machines))
            if last is True]


# --- what is shown

def after_boot(machine):
    """Tell of a manager that waits for its key."""
    if node_of(machine.docker()).get("LocalNodeState") == "locked":
        error = locked(machine)
        dm.out.warn("%s %s" % (error.message, error.hint))


def roles(rows, seconds):
    """{name: word}: leader, manager, worker, locked, or down, for rows of machines that are said to
    be in clusters. Engines that were silent before are not asked again."""
    def ask(machine):
        engine = machine.docker()
        node = node_of(engine, seconds)
        return node, nodes_of(engine, seconds) if is_manager(node) else {}

    there = [row.machine for row in rows if isinstance(row.answer, str)]
    found, seen = {}, {}
    for machine, answer in zip(there, dm.each(ask, there, 100, seconds)):
        if isinstance(answer, Exception):
            continue
        node, nodes = answer
        seen.update(nodes)
        state = dm.plain_words(str(node.get("LocalNodeState")))
        found[machine.name] = {"active": "worker", "inactive": ""}.get(state, state)
    for row in rows:
        node = seen.get(row.swarm.get("Node"))
        if node and found.get(row.name) != "locked":
            found[row.name] = role_of(node)
    return found


# --- the command

def command_swarm(context, options, words):
    verb, names = words[0] if words else "", list(dict.fromkeys(words[1:]))
    if verb not in VERBS:
        raise dm.UsageError(
            'There is no "swarm %s".' % verb if verb else "Error: No verb specified",
            dm.nearest(verb, VERBS) or "It is one of: " + ", ".join(sorted(VERBS)))
    for name in ("label", "advertise-addr"):
        flag = FLAGS["swarm-" + name]
        flag.check(options[name])
    if verb == "status":
        with context.machine(names) as machine, understood(machine):
            return status(machine, options)

    def act(machine):
        with understood(machine):
            return VERBS[verb](machine, options)

    if not names:
        raise dm.UsageError("Error: Expected to get one or more machine names as arguments",
                            "See: docker-machine swarm --help")
    if verb == "join" and not options["to"]:
        raise dm.UsageError("Which cluster?", "Name one of its machines: --to NAME")
    if verb == "init" and len(names) > 1:
        raise dm.UsageError("A cluster begins with one machine.", "The others join it: "
                            "docker-machine swarm join --to %s NAME" % names[0])
    if verb in ("join", "leave", "demote"):  # one after the other, so that managers agree
        return max(dm.on_each(context, [name], act) or 0 for name in names)
    return dm.on_each(context, names, act)


def end_standalone(machine):
    """Take a machine out of the standalone Swarm that `create` put it into."""
    if not machine.swarm.get("IsSwarm"):
        return
    dm.out.say("Removing the containers of the standalone Swarm...")
    for name in ("swarm-agent-master", "swarm-agent"):
        try:
            machine.docker().call("DELETE", "/containers/%s?force=1" % name)
        except dm.RestError as error:
            if error.status != 404:
                raise
    machine.swarm.update(IsSwarm=False, Master=False, Agent=False, Discovery="")
    machine.save()
    machine.store.tell_masters(machine.name)


def take_options(machine, options):
    """What a command line says of a node, kept as `create` does."""
    if options["label"]:
        machine.swarm["NodeLabels"] = options["label"]
    if options["advertise-addr"]:
        machine.swarm["AdvertiseAddr"] = options["advertise-addr"]


def verb_init(machine, options):
    engine = machine.docker()
    node = node_of(engine)
    if options["force-new-cluster"]:
        dm.out.say("Beginning anew from what %s knows of its cluster..." % machine.name)
        init(machine, engine, {"ForceNewCluster": True})
    elif node.get("LocalNodeState") == "locked":
        raise locked(machine)
    elif is_manager(node) and not machine.swarm.get("Node"):
        dm.out.say("It is a manager of a cluster already, which is kept.")
    elif is_active(node):
        raise dm.MachineError("%s is in a cluster already." % machine.name,
                              "See: docker-machine swarm status " + dm.quote(machine.name))
    else:
        check_live_restore(machine, engine)
        end_standalone(machine)
        take_options(machine, options)
        spec = {"EncryptionConfig": {"AutoLockManagers": True}} if options["autolock"] else {}
        init(machine, engine, {"Spec": spec})
    set_labels(machine, node_of(engine)["NodeID"])
    if options["autolock"]:
        keep_key(machine, engine)
    remember(machine, node_of(engine))
    dm.out.say("%s is a manager. Others join it: docker-machine swarm join --to %s NAME" % (
        machine.name, dm.quote(machine.name)))


def keep_key(machine, engine):
    """Show the key of a locked cluster once, and keep it for `unlock`."""
    key = dm.plain_words(engine.call("GET", "/swarm/unlockkey")["UnlockKey"])
    dm.write_atomic(os.path.join(machine.folder, KEY_FILE), key + "\n")
    dm.out.say("Managers that restart stay locked until: docker-machine swarm unlock NAME")
    dm.out.say("The key is kept in %s; keep it elsewhere too: %s" % (machine.folder, key))


def verb_join(machine, options):
    if options["to"] == machine.name:
        raise dm.UsageError("%s cannot join itself." % machine.name,
                            "Begin a cluster: docker-machine swarm init " + dm.quote(machine.name))
    node = node_of(machine.docker())
    before = dict(machine.swarm)
    take_options(machine, options)
    machine.swarm.update(Mode="manager" if options["manager"] else "worker", Join=options["to"])
    try:
        if is_active(node):
            same_cluster(machine, node)
            if options["manager"] and not is_manager(node):
                raise dm.MachineError("%s is a worker of that cluster already." % machine.name,
                                      "docker-machine swarm promote " + dm.quote(machine.name))
        if node.get("NodeID") != machine.swarm.get("Node"):
            machine.swarm.pop("Node", None)
        enter(machine)
    except dm.MachineError:
        machine.swarm.clear()
        machine.swarm.update(before)
        raise
    if is_manager(node_of(machine.docker())):
        machine.swarm["Mode"] = "manager"
    end_standalone(machine)
    machine.save()
    dm.out.say("%s is a %s." % (machine.name, machine.swarm["Mode"]))


def verb_leave(machine, options):
    state = None
    try:
        state = node_of(machine.docker(), 10).get("LocalNodeState")
    except dm.Unreachable:
        if not machine.swarm.get("Node"):
            raise
    if state == "inactive" and not machine.swarm.get("Node"):
        return dm.out.say("%s is in no cluster." % machine.name)
    leave(machine, options["force"])
    forget(machine)
    return None


def verb_promote(machine, options):
    change_role(machine, "manager")


def verb_demote(machine, options):
    engine, _ = manager_of(machine)
    check_quorum(machine, engine, node_of(machine.docker()).get("NodeID"))
    change_role(machine, "worker")


def change_role(machine, role):
    own = machine.docker()
    node_id = node_of(own).get("NodeID")
    engine, _ = manager_of(machine)
    update(engine, node_id, lambda spec: spec.update(Role=role))
    dm.wait_for(lambda: is_manager(node_of(own)) is (role == "manager"), 60,
                "%s did not become a %s within 60 s." % (machine.name, role))
    remember(machine, node_of(own))
    dm.out.say("%s is a %s." % (machine.name, role))


def verb_unlock(machine, options):
    """Unlock it with the key that this store has, or with the one that is typed."""
    engine = machine.docker()
    if node_of(engine).get("LocalNodeState") != "locked":
        return dm.out.say("%s is not locked." % machine.name)
    keys = [os.path.join(one.folder, KEY_FILE) for one in [machine] + members(machine.store, machine)]
    texts = [dm.read_text(path).strip() for path in keys if os.path.exists(path)]
    if not texts:
        import getpass
        texts = [getpass.getpass("Key of the cluster of %s: " % machine.name)]
    for text in texts:
        try:
            engine.call("POST", "/swarm/unlock", {"UnlockKey": text})
            return dm.out.say("%s is unlocked." % machine.name)
        except dm.RestError as error:
            refused = error
    raise dm.MachineError("%s cannot be unlocked: %s" % (machine.name, refused.words),
                          "Another manager, where one is unlocked, tells the key: docker swarm "
                          "unlock-key")


def status(machine, options):
    """The nodes of the cluster of a machine, as one of its managers sees them."""
    engine, _ = manager_of(machine)
    by_node = {}
    for name in machine.store.names():
        try:
            by_node[machine.store.machine(name).swarm.get("Node")] = name
        except dm.MachineError:
            continue
    rows = [row_of(node, by_node) for node in nodes_of(engine).values()]
    rows.sort(key=lambda row: (row["Machine"] == "", row["Machine"], row["Hostname"]))
    if options["format"]:
        return dm.answer(options, rows, "")
    head = dict(zip(rows[0], ("MACHINE", "HOSTNAME", "STATUS", "AVAILABILITY", "ROLE", "ADDRESS")))
    return dm.show_lines(dm.table([list(row.values())[:6] for row in [head, *rows]]))


def row_of(node, by_node):
    """A line of `status`. What a node says of itself is cleaned."""
    state, manager = node.get("Status") or {}, node.get("ManagerStatus") or {}
    row = {
        "Machine": by_node.get(node["ID"], ""),
        "Hostname": (node.get("Description") or {}).get("Hostname"),
        "Status": state.get("State"), "Availability": node["Spec"].get("Availability"),
        "Role": "leader" if manager.get("Leader") else node["Spec"].get("Role"),
        "Address": manager.get("Addr") or state.get("Addr"), "Id": node["ID"],
    }
    return {key: dm.plain_words(str(value or "")) for key, value in row.items()}


VERBS = {"init": verb_init, "join": verb_join, "leave": verb_leave, "status": status,
         "promote": verb_promote, "demote": verb_demote, "unlock": verb_unlock}
COMMANDS = {"swarm": dm.Command(
    "swarm", command_swarm, "VERB NAME...", "Swarm mode: init, join, leave, status, promote, "
    "demote, unlock",
    dm.Flag("advertise-addr", "", "init, join: where other nodes find it (default: its IP)"),
    dm.Flag("autolock", False, "init: managers that restart wait for a key"),
    dm.Flag("force", False, "leave: also the last manager, with which the cluster ends"),
    dm.Flag("force-new-cluster", False, "init: go on alone from what it knows, when too few "
            "managers are left to agree"),
    dm.FORMAT_FLAG,
    dm.Flag("label", [], "init, join: label of the node, key=value"),
    dm.Flag("manager", False, "join: as a manager"),
    dm.Flag("to", "", "join: a machine of the cluster"),
)}
