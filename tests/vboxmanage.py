#!/usr/bin/env python3
"""Plays VBoxManage for the fast tests, with the words and exit codes of the real one.

All its state is $VBOX_STANDIN/state.json, which tests/virtualbox.py makes and changes; calls.log there has a line
of JSON for each call. tests/test_vboxmanage.py holds it to recordings of VirtualBox 7.2.
A command that real VirtualBox has and this has not ends with exit code 99, and the fixture fails.
"""

import json
import os
import sys
import time

from vbox import disks, machines, networks, power, shown
from vbox.state import BANNER, NOT_PLAYED, WARNING, Box, Failure, UsageError, in_windows_words, state_of


def version(box, words):
    box.say(box["version"] + "\n")


COMMANDS = {
    "--version": version, "-v": version, "-V": version, "list": shown.list_, "showvminfo": shown.showvminfo,
    "createvm": machines.createvm, "modifyvm": machines.modifyvm, "unregistervm": machines.unregistervm,
    "sharedfolder": machines.sharedfolder, "setextradata": machines.setextradata,
    "getextradata": machines.getextradata, "snapshot": machines.snapshot,
    "startvm": power.startvm, "controlvm": power.controlvm, "discardstate": power.discardstate,
    "guestproperty": power.guestproperty, "storagectl": disks.storagectl, "storageattach": disks.storageattach,
    "createmedium": disks.createmedium, "createhd": disks.createmedium, "convertfromraw": disks.convertfromraw,
    "clonemedium": disks.clonemedium, "clonehd": disks.clonemedium, "modifymedium": disks.modifymedium,
    "modifyhd": disks.modifymedium, "closemedium": disks.closemedium, "hostonlyif": networks.hostonlyif,
    "hostonlynet": networks.hostonlynet, "dhcpserver": networks.dhcpserver, "natnetwork": networks.natnetwork,
}


# --- a call

def matches(pattern, words):
    """Whether the words begin as the pattern does; "*" stands for any word."""
    wanted = pattern.split()
    return len(wanted) <= len(words) and all(want in ("*", word) for want, word in zip(wanted, words))


def rule_for(state, words):
    """The first rule whose "call" these words match, counting down its "skip" and "times".

    Then, in this order: it sleeps "seconds"; with "block": "before" waits for release; with "rc" the command has
    no effect, but says "out" and "err" and ends with it; with "block": "after" waits with the effect done.
    """
    for rule in state["rules"]:
        if matches(rule["call"], words):
            if rule.get("skip"):
                rule["skip"] -= 1
            elif rule.get("times") is None or rule["times"] > 0:
                rule["times"] = None if rule.get("times") is None else rule["times"] - 1
                return rule
    return {}


def wait_for_release(folder, words):
    """Block until the file "blocked" goes, a minute at most."""
    path = os.path.join(folder, "blocked")
    with open(path, "w") as file:
        file.write(" ".join(words))
    until = time.time() + 60
    while os.path.exists(path) and time.time() < until:
        time.sleep(0.02)


def run(box, words):
    if not words:
        raise UsageError("Must specify a command")
    if words[0] in NOT_PLAYED:
        raise NotImplementedError
    if words[0] not in COMMANDS:
        raise UsageError("Invalid command '%s'" % words[0])
    COMMANDS[words[0]](box, words[1:])


def write(box, rc, windows):
    for stream, pieces in ((sys.stdout, box.out), (sys.stderr, box.err)):
        text = "".join(pieces)
        stream.buffer.write((in_windows_words(text) if windows else text).encode("utf-8", "surrogateescape"))
        stream.flush()
    return rc


def main(words, folder):
    with open(os.path.join(folder, "calls.log"), "a") as log:
        log.write(json.dumps(words) + "\n")
    with state_of(folder) as state:
        rule = dict(rule_for(state, words))
    time.sleep(rule.get("seconds", 0))
    if rule.get("block") == "before":
        wait_for_release(folder, words)
    with state_of(folder) as state:
        box, rc = Box(state, folder), rule.get("rc")
        box.look_for_settings()
        if not state["vboxdrv"]:
            box.say(WARNING)
        if rc is not None:
            box.say(rule.get("out", ""))
            box.tell(rule.get("err", ""))
        else:
            rc = ended(box, words)
    if rule.get("block") == "after":
        wait_for_release(folder, words)
    return write(box, rc, state["platform"] == "windows")


def ended(box, words):
    try:
        run(box, words)
    except UsageError as failure:
        box.tell(BANNER % box["version"].split("r")[0] + failure.words)
        return failure.rc
    except Failure as failure:
        box.tell(failure.words)
        return failure.rc
    except NotImplementedError:
        box["unknown"].append(words)
        box.tell("The stand-in of the tests does not know this: %s\n" % words)
        return 99
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ["VBOX_STANDIN"]))
