"""Fixtures of the integration tests, which run against the real hosts of tests/testbed.py.

Where such hosts cannot run, the tests are skipped; with DOCKER_MACHINE_REQUIRE_INTEGRATION=1 in
the environment, as in CI, they fail instead.

The hosts need Python 3.9. This file does not, so that an older Python gets past it when it runs the
other tests.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, List

import pytest

if TYPE_CHECKING:
    from tests.testbed import Host, Testbed

if sys.version_info < (3, 9):
    collect_ignore_glob = ["test_*.py"]

LONGEST = """test_qemu test_virtualbox test_swarm_mode test_openstack test_qemu_images test_safety test_digitalocean
    test_main_job test_bench test_commands test_vmwarevsphere test_amazonec2 test_testbed test_foreign test_refusals
    test_go_plugin_run test_install test_idempotence test_gitlab_runner test_swarm test_droplets test_options test_azure
    test_google test_readme test_vbox test_scripts test_vmwarefusion test_vmwarevcloudair test_shells""".split()
"""The modules to begin with, when several run side by side, the longest first, so that all end together. Emulated
guests take all that the processor has, so that not all of them begin at once."""

HostFactory = Callable[..., "Host"]
"""Takes the arguments of `Testbed.host`."""


@pytest.hookimpl(tryfirst=True)  # before `-m integration` selects by this mark
def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    here = Path(__file__).resolve().parent
    ours = {path for path in {item.path for item in items} if here in path.resolve().parents}
    for item in items:
        if item.path in ours:
            item.add_marker(pytest.mark.integration)
    places = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def cannot_run(reason: str) -> None:
    """Skip what asks for this, or fail it where the integration tests are required to run."""
    if os.environ.get("DOCKER_MACHINE_REQUIRE_INTEGRATION") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def _integration_requirements() -> None:
    from tests.testbed import missing_requirements

    missing = missing_requirements()
    if missing:
        cannot_run("integration tests cannot run here: " + ", ".join(missing))


OPENSSL = """#!/bin/sh
[ "$1" != genrsa ] || { shift; set -- genrsa -primes 3 "$@"; }
exec '%s' "$@"
"""


@pytest.fixture(scope="session", autouse=True)
def _quick_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let openssl make RSA keys of three primes, in a third of the time: those of two took a twelfth of these tests'
    processor time. The fast tests make them as users do."""
    script = tmp_path_factory.mktemp("quick-keys") / "openssl"
    script.write_text(OPENSSL % shutil.which("openssl"))
    script.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(script.parent), prepend=os.pathsep)
        yield


@pytest.fixture(scope="session")
def _progress(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Writes past pytest's capture: the first build of an image takes a while."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def show(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\ntestbed: {line}", end="", file=sys.stderr, flush=True)

    return show


@pytest.fixture(scope="session")
def bed(
    _integration_requirements: None,
    _progress: Callable[[str], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> "Iterator[Testbed]":
    """The test bed; hosts that are started with `bed.host` last until the end of the session."""
    from tests.testbed import Testbed

    with Testbed(tmp_path_factory.mktemp("testbed"), log=_progress) as testbed:
        yield testbed


@pytest.fixture
def host(bed: "Testbed") -> Iterator[HostFactory]:
    """A function that starts hosts, `host("engine")`, which are removed when the test ends."""
    started: "List[Host]" = []

    def start(*args: str, **kwargs: str) -> "Host":
        started.append(bed.host(*args, **kwargs))
        return started[-1]

    yield start
    for each in started:
        each.remove()
