"""The command ``fedkd-node``: checks what a node that trains by a file brings, before it starts."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from clients.node.node_config import own_data, state_checked
from fedkd.base.errors import InputError
from fedkd.tasks.own import read_arrays, warning_of

_WRONG = 2


def main() -> None:
    """Entry point: 0, or 2 and one line where something breaks a rule."""
    given = _parser().parse_args()
    try:
        print(check(given.own, given.state_dir, given.training_file, given.test))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(_WRONG)


def check(own: Path, state: Path, training_file: Path | None, test: Path | None) -> str:
    """Check a node's examples, as far as what is here says what they must be, and that its state can be kept.

    Args:
        own: Its examples, see ``fedkd.tasks.own``.
        state: Folder of its state; made where it isn't there.
        training_file: By which it trains; None where the server will send it.
        test: Examples on which it measures its teacher; None where there are none.

    Returns:
        What was found, for people; a second line warns of what seems odd.

    Raises:
        InputError: One of them breaks a rule.
    """
    node: Mapping[str, str] = {"data": str(own), "state-dir": str(state)}
    state_checked(node)
    if training_file is None:
        count = len(read_arrays(own)["y"])
        return f"{own}: {count} examples, to be checked when the training file comes; state in {state}"
    from fedkd.protocol.node_experiment import NodeExperiment

    task = NodeExperiment(training_file, test).task
    found, _ = own_data(node, task), task.test
    assert found is not None  # it is named
    odd = warning_of(found, task)
    said = f"{own}: {len(found)} examples, as the training file wants them; state in {state}"
    return said + (f"\nwarning: {own}: {odd}" if odd else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fedkd-node", description=__doc__)
    commands = parser.add_subparsers(required=True)
    checks = commands.add_parser("check", help="Check what this node brings.")
    checks.add_argument("--own", type=Path, required=True, help="this node's examples: an .npz with x and y")
    checks.add_argument("--state-dir", type=Path, required=True, help="where this node keeps its state")
    checks.add_argument("--training-file", type=Path, help="by which it trains (default: the server's, when it comes)")
    checks.add_argument("--test", type=Path, help="an .npz of examples on which it measures its teacher")
    return parser
