"""Options that several commands have."""

from typing import Annotated

import click
import typer
from click.core import ParameterSource

from fedkd.base.errors import InputError

TaskOption = Annotated[
    str | None, typer.Option(help="A name, npz:PATH, csv:PATH, hf:NAME or package.module:function; see `fedkd tasks`.")
]
DataOption = Annotated[
    str | None, typer.Option(help="File or folder with the data of a named task, where it needs one.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Any key of the configuration, e.g. train.epochs=5. May be repeated.")
]
PartitionOption = Annotated[
    str | None,
    typer.Option(help="Who holds what: iid, dirichlet, shards, natural or package.module:function. (default: iid)"),
]
AlphaOption = Annotated[
    float | None,
    typer.Option(help="Concentration of the Dirichlet partition, above 0; small is uneven. (default: 0.5)"),
]
FinishOption = Annotated[
    str | None,
    typer.Option(
        help="What clients do in finishing rounds: 'prune channels N%' (of the multiplications), 'prune weights N%',"
        " 'qat int8' (learn what int8 needs, so that the server needs no data), with commas between them, or 'none'."
        " (default: prune weights 50%)"
    ),
]
SeedOption = Annotated[int | None, typer.Option(help="Same seed, same bytes. (default: 0)")]
TrustOption = Annotated[
    bool, typer.Option("--trust", help="Run the code that the run's config.toml names (as module:function).")
]
TrackOption = Annotated[
    list[str] | None,
    typer.Option("--track", metavar="NAME", help="Log figures for tensorboard, mlflow or as csv. May be repeated."),
]
FromRoundOption = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="With --resume: go back to the end of round N, one of the two kept, and on from there."
    ),
]


def check_alone(name: str, *also: str) -> None:
    """Refuse options that one of the command's makes meaningless.

    Args:
        name: Of the one, as the command's function has it.
        also: Others that go with it.

    Raises:
        InputError: Another one is on the command line.
    """
    context = click.get_current_context()
    given = [p for p in context.params if context.get_parameter_source(p) == ParameterSource.COMMANDLINE]
    for other in set(given) - {name, *also}:
        raise InputError(f"--{name} takes the run's own settings: drop {other.rstrip('_').replace('_', '-')!r}")
