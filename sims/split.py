"""The command ``fedkd split``: a task's training examples as the files of nodes, dealt as a run deals them."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import tomli_w
import typer

from fedkd.base.errors import InputError
from fedkd.base.files import replace_file, replace_folder
from fedkd.base.work_folder import work_folder
from fedkd.config.config import Scalar
from fedkd.config.settings import check_settings, nest, parse_assignment
from fedkd.results.folder_lock import reserved
from fedkd.tasks.own import write_own
from sims.exit_codes import errors_for_people
from sims.options import AlphaOption, DataOption, PartitionOption, SeedOption, SetOption
from sims.terminal import Terminal

# Where a split's folder says how its nodes are run.
SETTINGS = "deploy.toml"
_MARK = "# Written by fedkd: `fedkd deploy run DIR --config` with this file trains on the nodes' files beside it.\n"


def split(
    task: Annotated[str, typer.Argument(metavar="TASK", help="As --task of `fedkd run`; see `fedkd tasks`.")],
    out: Annotated[Path, typer.Option(help="Folder to write: N/data.npz for node N.")],
    clients: Annotated[
        int | None, typer.Option(min=1, help="Number of nodes. (default: 10, or the natural clients)")
    ] = None,
    data: DataOption = None,
    partition: PartitionOption = None,
    alpha: AlphaOption = None,
    seed: SeedOption = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the folder of an earlier split.")] = False,
    set_: SetOption = None,
) -> None:
    """Write each node's data.npz: what the clients of `fedkd run` with these settings hold."""
    flags = {
        "task": task, "clients": clients, "data": data, "partition.kind": partition, "partition.alpha": alpha,
        "seed": seed,
    }  # fmt: skip
    with errors_for_people():
        settings = {key: value for key, value in flags.items() if value is not None}
        sizes = write_split(settings | dict(parse_assignment(text) for text in set_ or ()), out, overwrite)
        console, shown = Terminal(), f"{min(sizes)} to {max(sizes)} examples"
        console.print(f"{len(sizes)} nodes, {shown} each: {out}/N/data.npz", highlight=False, soft_wrap=True)
        console.print(f"then: fedkd deploy run DIR --config {out / SETTINGS}", highlight=False, soft_wrap=True)


def write_split(settings: Mapping[str, Scalar], out: Path, overwrite: bool) -> list[int]:
    """Write the examples of each client of a run, in the form that nodes take, and how such nodes are run.

    Args:
        settings: Of the run, by dotted keys, see ``fedkd.config.settings``.
        out: Folder to write.
        overwrite: Replace that of an earlier split.

    Returns:
        How many examples each node has.

    Raises:
        InputError: A setting breaks a rule, or the folder can't be written; nothing was written then.
    """
    from fedkd.protocol.resolve import resolve
    from sims.run import absolute

    given = absolute(check_settings(settings))
    experiment = resolve(given)
    if not experiment.rows:
        raise InputError("partition.kind must be one that deals examples, got 'nodes': see `fedkd split --help`")
    final, sizes = out.absolute(), [len(rows) for rows in experiment.rows]
    with reserved(final, overwrite, "a split", is_split):
        try:
            with work_folder(final.parent, final.name) as holder:
                draft = holder / final.name
                draft.mkdir(mode=0o700)
                for number in range(len(sizes)):
                    (draft / str(number)).mkdir(mode=0o700)
                    write_own(draft / str(number) / "data.npz", experiment.dealt(number))
                replace_file(draft / SETTINGS, (_MARK + tomli_w.dumps(nest(_for_nodes(given, len(sizes))))).encode())
                if overwrite:
                    shutil.rmtree(final)
                replace_folder(draft, final)
        except OSError as error:
            raise InputError(f"out: {final} can't be written ({error.strerror})") from None
    return sizes


def is_split(path: Path) -> bool:
    """Tell a folder that ``write_split`` has written."""
    file = path / SETTINGS
    return file.is_file() and file.read_text(encoding="utf-8", errors="replace").startswith(_MARK)


def _for_nodes(given: Mapping[str, Scalar], nodes: int) -> dict[str, Scalar]:
    """The settings with which nodes that hold the files come to what a run with the given ones comes to."""
    dealing = ("partition.clients", "partition.alpha", "partition.shards", "partition.minimum", "partition.library")
    kept = {key: value for key, value in given.items() if key not in dealing}
    unlabelled = {"train.unlabelled": "nodes"} if kept.get("train.unlabelled", "none") not in ("", "none") else {}
    return kept | {"clients": nodes, "partition.kind": "nodes", **unlabelled}
