"""VMware's own govc and vcsim, the simulator of a vCenter, built from Debian's source package.

They are kept in the tests' cache. Needed: golang-go, dpkg-dev and apt; nothing is installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

from tests.cached import cached

SOURCE = "golang-github-vmware-govmomi"
LIBRARIES = ("kr-pretty kr-text rogpeppe-go-internal google-uuid davecgh-go-xdr vmware-vmw-guestinfo").split()
USER, PASSWORD = "administrator@vsphere.local", "Geheim-7!pass"


def build(folder: Path) -> None:
    """Put govc and vcsim into a folder."""
    work = folder / "work"
    deb, module = fetch(work, *LIBRARIES, source=SOURCE), work / "src/github.com/vmware/govmomi"
    module.mkdir(parents=True)
    (archive,) = deb.glob(f"{SOURCE}_*.orig.tar.*")
    run(work, "tar", "-xf", str(archive), "-C", str(module), "--strip-components=1")
    for program in ("govc", "vcsim"):
        run(module, "go", "build", "-o", str(folder / program), f"./{program}", **go_environment(work))
    clear(work)


def fetch(work: Path, *libraries: str, source: str = "") -> Path:
    """Make a folder a GOPATH with some of Debian's libraries, with what apt needs in folders of this user; the folder
    in it that has the packages, and those of a source package."""
    for name in ("lists/partial", "cache/archives/partial", "deb", "src"):
        (work / name).mkdir(parents=True)
    deb = work / "deb"
    (work / "sources.list").write_text(_sources())
    apt = [f"-oDir::Etc::sourcelist={work}/sources.list", "-oDir::Etc::sourceparts=/dev/null",
           f"-oDir::State::lists={work}/lists", f"-oDir::Cache={work}/cache", "-oAPT::Sandbox::User=root", "-qq"]
    run(work, "apt-get", *apt, "update")
    if source:
        run(deb, "apt-get", *apt, "source", "--download-only", source)
    run(deb, "apt-get", *apt, "download", *(f"golang-github-{name}-dev" for name in libraries))
    for package in deb.glob("*.deb"):
        run(work, "dpkg-deb", "--extract", str(package), str(work / "unpacked"))
    run(work, "cp", "-r", f"{work}/unpacked/usr/share/gocode/src/.", f"{work}/src/")
    return deb


def go_environment(work: Path) -> dict[str, str]:
    return {"GO111MODULE": "off", "GOPATH": str(work), "GOFLAGS": "", "GOCACHE": str(work / "gocache")}


def clear(work: Path) -> None:
    run(work, "chmod", "-R", "u+w", str(work))
    run(work.parent, "rm", "-rf", str(work))


def _sources() -> str:
    """The machine's own sources of its own release, with those of source packages."""
    release = re.findall(r'^VERSION_CODENAME="?(\w+)', Path("/etc/os-release").read_text(), re.M)[0]
    texts = [path.read_text() for path in Path("/etc/apt").glob("sources.list*/*.sources")]
    addresses = re.findall(r"^URIs:\s*(\S+)", "\n".join(texts), re.M)
    plain = [*Path("/etc/apt").glob("sources.list*/*.list"), Path("/etc/apt/sources.list")]
    for path in filter(Path.exists, plain):
        addresses += re.findall(r"^deb\s+(?:\[.*?\]\s+)?(\S+)", path.read_text(), re.M)
    key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    return "".join(f"{kind} {key} {addresses[0]} {release} main\n" for kind in ("deb", "deb-src"))


def run(folder: Path, *words: str, **environ: str) -> None:
    done = subprocess.run(words, cwd=folder, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"


def programs() -> Path:
    """The folder that has govc and vcsim."""
    return cached("govmomi", build, Path(__file__).read_bytes())


class VCenter:
    """A vcsim that runs: one datacenter with a cluster of two hosts and a host of its own, or a single ESXi.

    `folder` gets its datastores and what else it writes; its programs are looked for in `path` first.
    """

    def __init__(self, folder: Path, *words: str, path: str = "") -> None:
        self.tools, self.folder = programs(), folder
        folder.mkdir(parents=True, exist_ok=True)
        shape = words or ("-dc", "1", "-cluster", "1", "-host", "2", "-vm", "0", "-ds", "1")
        argv = [str(self.tools / "vcsim"), "-l", "127.0.0.1:0", "-username", USER, "-password", PASSWORD, *shape]
        self.process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "TMPDIR": str(folder), "PATH": f"{path}{self.tools}:{os.environ['PATH']}"})
        assert self.process.stdout
        line = self.process.stdout.readline()
        found = re.search(r"@127\.0\.0\.1:(\d+)/sdk", line)
        assert found, line
        self.port = int(found.group(1))
        self.lines = [line]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout
        self.lines.extend(self.process.stdout)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def govc(self, *words: str, fails: bool = False) -> str:
        """What the real govc prints, with the administrator's login."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GOVC_")}
        environ.update(GOVC_URL=f"https://127.0.0.1:{self.port}/sdk", GOVC_USERNAME=USER, GOVC_PASSWORD=PASSWORD,
                       GOVC_INSECURE="true", GOVC_PERSIST_SESSION="false")
        done = subprocess.run([str(self.tools / "govc"), *words], env=environ, capture_output=True, text=True,
                              check=False)
        assert bool(done.returncode) == fails, f"govc {words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr if fails else done.stdout

    def inventory(self) -> list[str]:
        """All paths of the inventory, and all files of the datastores."""
        files = [str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()]
        return sorted(self.govc("find", "/").splitlines() + files)

    def file(self, name: str) -> Path:
        """The file of a datastore whose path ends so."""
        (path,) = [path for path in self.folder.rglob(name.rpartition("/")[2]) if str(path).endswith("/" + name)]
        return path


def flags(center: VCenter) -> dict[str, str]:
    """The variables of the driver's flags."""
    return {"VSPHERE_VCENTER": "127.0.0.1", "VSPHERE_VCENTER_PORT": str(center.port), "VSPHERE_USERNAME": USER,
            "VSPHERE_PASSWORD": PASSWORD}


if __name__ == "__main__":
    print(programs(), file=sys.stdout)
