"""Options that several commands have."""

from typing import Annotated

import typer

TrustOption = Annotated[
    bool, typer.Option("--trust", help="Run the code that the run's config.toml names (as module:function).")
]
