"""Options that several commands have."""

from typing import Annotated

import typer

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
