"""Options that several commands have."""

from typing import Annotated

import typer

TaskOption = Annotated[
    str | None, typer.Option(help="A name, npz:PATH, hf:NAME or package.module:function; see `fedkd tasks`.")
]
DataOption = Annotated[str | None, typer.Option(help="File with the data of a named task, where it needs one.")]
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
