# SPDX-License-Identifier: Apache-2.0
"""The command `set`: other options for an engine that runs, other names in its certificate, another
size for a virtual machine of this computer."""

import copy

import docker_machine as dm

LISTS = ("engine-env", "engine-insecure-registry", "engine-label", "engine-opt",
         "engine-registry-mirror")
FLAGS = {flag.name: flag for flag in dm.CREATE_FLAGS}
UNSET_FORMS = {"engine-label": "(?s)[^=]+(=.*)?", "engine-env": r"(?s)[A-Za-z_]\w*(=.*)?",
               "engine-registry-ca": r"[\w.-]+(:\d{1,5})?(=.*)?"}  # a key is enough


def command_set(context, options, words):
    if not words:
        raise dm.UsageError("Error: Expected to get one or more machine names as arguments",
                            "See: docker-machine set --help")
    check_values(options)
    names = list(dict.fromkeys(words))
    return dm.on_each(context, names, lambda machine: change(machine, options))


def check_values(options):
    """Refuse values that the flags of `create` do not take. Raises UsageError."""
    given = [flag for flag in COMMANDS["set"].flags
             if flag.name != "unset" and options[flag.name] != flag.default]
    if not given:
        raise dm.UsageError("There is nothing to change.", "See: docker-machine set --help")
    for flag in given:
        flag = copy.copy(FLAGS.get(flag.name, flag))
        if options["unset"]:
            flag.form = UNSET_FORMS.get(flag.name, flag.form)
        flag.check(options[flag.name])


def change(machine, options):
    """Change one machine. Where that fails, what is stored is as before, and so is the host, since
    the engine's old configuration was put back there. Raises MachineError."""
    before = copy.deepcopy(machine.config)
    if options["memory"] or options["cpus"]:
        resize(machine, options)
    engine, auth = machine.engine, machine.config["HostOptions"]["AuthOptions"]
    for name in LISTS:
        field = FLAGS[name].field
        edit(engine, field, options[name], options["unset"], key_of(name))
        gone = set(before["HostOptions"]["EngineOptions"].get(field) or ()) - set(engine[field])
        machine.dropped += tuple(option_of(name, value) for value in gone)
    edit(auth, "ServerCertSANs", options["tls-san"], options["unset"], str)
    edit_registries(engine, options)
    if options["engine-version"]:
        engine["Version"] = "" if options["unset"] else options["engine-version"]
    if machine.config == before:
        return dm.out.say('Machine "%s" is like that already.' % machine.name)
    if machine.config["HostOptions"] == before["HostOptions"]:
        return machine.save()
    dm.check_engine_options(engine)
    try:
        apply(machine, bool(options["engine-version"]))
    except BaseException:
        machine.config["HostOptions"] = before["HostOptions"]
        machine.save()
        raise


def apply(machine, upgrade):
    """Bring the host to the changed options. Raises MachineError."""
    if not machine.driver.provisions:
        machine.driver.check_provision()
        raise dm.MachineError("The engine of %s is not set up by docker-machine." % machine.name,
                              "Change it where it is set up.")
    machine.provision(upgrade=upgrade)
    trusted = machine.engine.get("RegistryCA") or {}
    machine.engine["RegistryCA"] = {host: pem for host, pem in trusted.items() if pem}
    if not machine.engine["RegistryCA"]:
        del machine.engine["RegistryCA"]
    machine.save()


def option_of(flag, value):
    """A value of a flag as dockerd's option, without its dashes."""
    return value if flag == "engine-opt" else "%s=%s" % (flag[len("engine-"):], value)


def key_of(flag):
    """What a value of a flag is about: only one value, or set of values, can be about that."""
    if flag in ("engine-label", "engine-env", "engine-opt"):
        return lambda value: value.partition("=")[0]
    return str


def edit(settings, field, values, unset, key):
    """Add values to a list of settings in place of those of the same key, or take out those that
    are named by their key or in full."""
    there = settings.get(field) or []
    named = {key(value) for value in values}
    if unset:
        left = [value for value in there if value not in values and key(value) not in values]
    else:
        left = [value for value in there if key(value) not in named]
        left += dict.fromkeys(values)
    if sorted(left) != sorted(there):
        settings[field] = left


def edit_registries(engine, options):
    """The CAs of registries. One that is taken out is empty until the host knows."""
    rows = options["engine-registry-ca"]
    if not options["unset"]:
        return dm.trust_registries(engine, rows)
    for row in rows:
        host = row.partition("=")[0]
        if host in (engine.get("RegistryCA") or {}):
            engine["RegistryCA"][host] = ""


def resize(machine, options):
    """Other memory or CPUs for a machine that is off. Raises MachineError."""
    driver = machine.driver
    if not isinstance(driver, dm.LocalVM):
        raise dm.MachineError("%s driver does not support set --memory and --cpus" % driver.name,
                              "Change the size at its provider; start follows a new address.")
    state = driver.get_state()
    if state != "Stopped":
        raise dm.MachineError('Machine "%s" is not off, but %s.' % (machine.name, state),
                              "Stop it: docker-machine stop " + dm.quote(machine.name))
    flags = {flag.field: flag for flag in driver.flags}
    for field, value in (("Memory", options["memory"]), ("CPU", options["cpus"])):
        if value:
            flags[field].check(value)
            driver[field] = value
    driver.check_memory()
    driver.resize()


def typed_only(flag):
    """A flag of `create` without its variable, which is about new machines, and with a form that
    depends on --unset."""
    flag = copy.copy(flag)
    flag.env = flag.form = ""
    return flag


COMMANDS = {"set": dm.Command(
    "set", command_set, "NAME...", "Change a machine: its engine's options, its certificate's "
    "names, its size",
    *(typed_only(FLAGS[name]) for name in sorted(
        (*LISTS, "engine-registry-ca", "engine-version", "tls-san"))),
    dm.Flag("cpus", 0, "Number of CPUs of a virtual machine that is off (virtualbox, qemu)",
            least=1),
    dm.Flag("memory", 0, "Memory in MB of a virtual machine that is off (virtualbox, qemu)",
            least=1),
    dm.Flag("unset", False, "Take the given values out; of labels, variables and registries the "
            "key is enough"))}
