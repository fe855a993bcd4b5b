"""What a deployment's folder says of its nodes, and remembers: the ids that Flower gave them, where its last run is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from fedkd.base.errors import InputError
from fedkd.base.files import replace_file
from fedkd.config.settings import read_tables
from sims.deploy import flower
from sims.deploy.folder import MARK, Deployment, node_name

# In the folder of whoever starts runs, and only there once a key is registered or a run was started.
_IDS, _LAST_RUN = "node_ids.toml", "last_run.toml"
_IDS_NOTE = "# Flower's id of each node by its number; written by `fedkd deploy register`.\n"


@dataclass(frozen=True)
class Deployed:
    """A deployment that was written before.

    Args:
        folder: The one that `fedkd deploy init` wrote.
        names: What people call the nodes, in order.
        task: What nodes check their data for.
    """

    folder: Path
    names: tuple[str, ...]
    task: str

    @classmethod
    def read(cls, folder: Path) -> "Deployed":
        """Read a deployment's folder.

        Raises:
            InputError: It is no deployment's.
        """
        if not (folder / MARK).is_file():
            raise InputError(f"{folder}: no deployment, which has a {MARK}; `fedkd deploy init` writes one")
        made = read_tables(folder / MARK)
        try:
            names = tuple(made.get("names", [])) or tuple(node_name(number) for number in range(made["nodes"]))
            return cls(folder, names, made["task"])
        except (KeyError, TypeError) as error:
            raise InputError(f"{folder / MARK}: not as `fedkd deploy init` writes it ({error!r})") from None

    @property
    def env(self) -> dict[str, str]:
        """Environment for Flower's commands about this deployment."""
        return flower.environment(self.admin)

    @property
    def admin(self) -> Path:
        """Flower's home for who registers keys and starts runs."""
        return self._as_written.admin

    def public_key(self, number: int) -> Path:
        """A node's key, to be registered."""
        return self._as_written.public_key(number)

    @property
    def _as_written(self) -> Deployment:
        return Deployment(self.folder.absolute(), len(self.names))

    @property
    def ids_file(self) -> Path:
        """Where the ids are remembered."""
        return self.admin / _IDS

    @property
    def ids(self) -> dict[int, str]:
        """Flower's ids of the nodes by their numbers, as far as they are remembered."""
        path = self.ids_file
        found = read_tables(path) if path.is_file() else {}
        if strange := [key for key in found if not key.isdigit() or int(key) >= len(self.names)]:
            raise InputError(f"{path}: keys must be numbers of nodes, below {len(self.names)}, got {strange[0]!r}")
        return {int(number): str(id_) for number, id_ in found.items()}

    def remember_ids(self, ids: Mapping[int, str]) -> None:
        """Keep Flower's ids of the nodes.

        Raises:
            InputError: The folder can't be written.
        """
        table = {str(number): ids[number] for number in sorted(ids)}
        self._keep(_IDS, _IDS_NOTE + tomli_w.dumps(table))

    @property
    def last_out(self) -> Path | None:
        """Folder of the run that was started last; None where none was."""
        path = self.admin / _LAST_RUN
        found = read_tables(path).get("out") if path.is_file() else None
        return Path(found) if found else None

    def remember_run(self, out: Path) -> None:
        """Keep where the run is that was started last.

        Raises:
            InputError: The folder can't be written.
        """
        self._keep(_LAST_RUN, tomli_w.dumps({"out": str(out)}))

    def number_of(self, node: str) -> int:
        """Return the number of a node that is given by its number or its name.

        Raises:
            InputError: There is no such node.
        """
        if node in self.names:
            return self.names.index(node)
        if node.isdigit() and int(node) < len(self.names):
            return int(node)
        raise InputError(f"--node must be a number from 0 to {len(self.names) - 1} or a name, got {node!r}")

    def _keep(self, name: str, text: str) -> None:
        try:
            replace_file(self.admin / name, text.encode())
        except OSError as error:
            raise InputError(f"{self.admin / name}: can't be written ({error.strerror})") from None
