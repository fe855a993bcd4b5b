"""The folder of a deployment: keys, scripts, units and a guide; each node's part holds only what that node may see."""

import datetime
import os
import re
import secrets
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import tomli_w

from fedkd.base.errors import InputError
from fedkd.base.files import replace_folder
from fedkd.results.folder_lock import reserved
from server.certificates import VALID_DAYS, Signed, authority, server
from sims.deploy import scripts
from sims.deploy.keys import node_pair, write_secret

PORT = 8000
CONTROL = "127.0.0.1:8001"
MARK = "deployment.toml"
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_LOCAL = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Deployment:
    """What a deployment is made of.

    Args:
        folder: The folder to write.
        nodes: How many nodes have a key.
        hosts: Names or addresses by which nodes reach the SuperLink; start scripts hold the first.
        task: What nodes check their data for.
        control: Where the SuperLink listens on its own machine.
        names: What people call the nodes, in order; ``node-0``, ``node-1``, … where there are none.
    """

    folder: Path
    nodes: int
    hosts: tuple[str, ...] = ("127.0.0.1",)
    task: str = "digits"
    control: str = CONTROL
    names: tuple[str, ...] = ()

    @property
    def superlink(self) -> Path:
        """What the SuperLink's machine needs."""
        return self.folder / "superlink"

    @property
    def admin(self) -> Path:
        """Flower's home for who registers keys and starts runs."""
        return self.folder / "admin"

    def node(self, number: int) -> Path:
        """What a node's machine needs."""
        return self.folder / "nodes" / str(number)

    def public_key(self, number: int) -> Path:
        """A node's key, to be registered."""
        return self.admin / "keys" / f"node-{number}.pub"


def node_name(number: int) -> str:
    """What a node is called that nobody gave a name."""
    return f"node-{number}"


def write_deployment(deployment: Deployment, overwrite: bool) -> None:
    """Write the folder in one step: it is whole, or not there.

    Raises:
        InputError: A number or name breaks a rule, or the folder exists and ``overwrite`` is off.
    """
    if deployment.nodes < 1:
        raise InputError(f"--nodes must be at least 1, got {deployment.nodes}")
    for host in deployment.hosts:
        if not _HOST.fullmatch(host):
            raise InputError(f"--host must be a host name or an address without a port, got {host!r}")
    _check_names(deployment)
    final = deployment.folder.absolute()
    with reserved(final, overwrite, "a deployment", lambda path: (path / MARK).is_file()):
        draft = final.with_name(f".{final.name}.{os.getpid()}.tmp")
        try:
            draft.mkdir(mode=0o700)
            _write(replace(deployment, folder=draft), final)
            if overwrite:
                shutil.rmtree(final)
            replace_folder(draft, final)
        except OSError as error:
            raise InputError(f"{final}: can't be written ({error.strerror})") from None
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _check_names(deployment: Deployment) -> None:
    names = deployment.names
    if names and len(names) != deployment.nodes:
        raise InputError(
            f"--name must be given once for each of the {deployment.nodes} nodes, in their order, or not at all; got"
            f" {len(names)}"
        )
    for name in names:
        if not _NAME.fullmatch(name) or name.isdigit() or names.count(name) > 1:
            rule = "up to 40 letters, digits, '.', '_' or '-', no number, and no other node's"
            raise InputError(f"--name must be {rule}; got {name!r}")


def _write(draft: Deployment, final: Path) -> None:
    """Write all files; ``final`` is where they will be found."""
    now = datetime.datetime.now(datetime.UTC)
    until = (now + datetime.timedelta(days=VALID_DAYS)).date().isoformat()
    ca = authority(now)
    _write_authority(draft.folder / "ca", ca)
    _write_superlink(draft, ca, now)
    for number in range(draft.nodes):
        _write_node(draft, number, ca)
    _write_admin(draft, final)
    systemd = draft.folder / "systemd"
    systemd.mkdir()
    for name, unit in scripts.units().items():
        (systemd / name).write_text(unit)
    (draft.folder / "nginx.conf").write_text(scripts.NGINX.substitute(port=PORT, folder=final))
    (draft.folder / "README.md").write_text(scripts.guide(draft.nodes, str(final), PORT, until))
    names = list(draft.names) or [node_name(number) for number in range(draft.nodes)]
    settings = {"nodes": draft.nodes, "names": names, "hosts": list(draft.hosts), "task": draft.task}
    settings["valid_until"] = until
    (draft.folder / MARK).write_text(tomli_w.dumps(settings))


def _write_authority(folder: Path, ca: Signed) -> None:
    folder.mkdir(mode=0o700)
    (folder / "ca.crt").write_bytes(ca.pem)
    write_secret(folder / "ca.key", ca.key_pem)


def _write_superlink(draft: Deployment, ca: Signed, now: datetime.datetime) -> None:
    folder = draft.superlink
    folder.mkdir(mode=0o700)
    signed = server(ca, list(dict.fromkeys([*draft.hosts, *_LOCAL])), now)
    (folder / "ca.crt").write_bytes(ca.pem)
    (folder / "superlink.crt").write_bytes(signed.pem)
    write_secret(folder / "superlink.key", signed.key_pem)
    write_secret(folder / "superexec.secret", secrets.token_hex(32).encode())
    _write_script(folder / "start.sh", scripts.SUPERLINK)
    _write_script(folder / "start-superexec.sh", scripts.SUPEREXEC)


def _write_node(draft: Deployment, number: int, ca: Signed) -> None:
    folder, public = draft.node(number), draft.public_key(number)
    folder.mkdir(parents=True, mode=0o700)
    public.parent.mkdir(parents=True, exist_ok=True)
    private, shown = node_pair()
    (folder / "ca.crt").write_bytes(ca.pem)
    write_secret(folder / "node.key", private)
    public.write_bytes(shown)
    host = draft.hosts[0]
    host = f"[{host}]" if ":" in host else host
    _write_script(folder / "start.sh", scripts.supernode(number, f"{host}:{PORT}", draft.task))
    (folder / scripts.NODE_UNIT).write_text(scripts.units()[scripts.NODE_UNIT])


def _write_admin(draft: Deployment, final: Path) -> None:
    """Flower's connection, for the commands that register keys and start runs."""
    connection = {
        "address": draft.control,
        "root-certificates": str(final / "superlink" / "ca.crt"),
        "insecure": False,
    }
    text = tomli_w.dumps({"superlink": {"default": "fedkd", "fedkd": connection}})
    (draft.admin / "config.toml").write_text(text)


def _write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
