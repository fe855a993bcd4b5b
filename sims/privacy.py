"""The command ``fedkd privacy``: what epsilon costs, without a run."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fedkd.config.config import Scalar
from fedkd.config.privacy import PrivacyConfig
from fedkd.config.settings import check_settings, parse_assignment
from sims.exit_codes import errors_for_people
from sims.options import DataOption, SetOption, TaskOption
from sims.terminal import Terminal

if TYPE_CHECKING:
    from fedkd.privacy.accountant import Accountant
    from fedkd.protocol.promise import Promise

EPSILONS = (1.0, 2.0, 4.0, 8.0)
CLIENTS = (100, 1_000, 10_000)


def privacy(
    task: TaskOption = None,
    data: DataOption = None,
    method: Annotated[str | None, typer.Option(help="See `fedkd methods`. (default: fedkd)")] = None,
    clients: Annotated[int | None, typer.Option(help="Number of clients. (default: 10, or the natural ones)")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of training. (default: 20)")] = None,
    fraction: Annotated[
        float | None, typer.Option(help="Share of the clients that take part in a round, in (0, 1]. (default: 1)")
    ] = None,
    set_: SetOption = None,
) -> None:
    """Show how much noise keeps a run's clients private, for each epsilon, beside what they have to say."""
    flags = {"task": task, "data": data, "method": method, "clients": clients, "rounds": rounds, "fraction": fraction}
    with errors_for_people():
        given = {key: value for key, value in flags.items() if value is not None}
        given |= dict(parse_assignment(text) for text in set_ or ())
        promises = priced(given)
        console, first = Terminal(), promises[0]
        console.print(_table(promises))
        console.print(
            f"By clients: norm of the noise on {first.coordinates:,} numbers, as a multiple of the largest that a mean"
            f" of clipped updates can have; above 1 much of what they send is lost. {first.rounds} rounds, delta"
            f" {first.accountant.delta:g}, neighbours: {first.accountant.neighbours}.",
            highlight=False,
        )


def priced(settings: Mapping[str, Scalar]) -> list["Promise"]:
    """Return the promises that a run with these settings could make, by their epsilons.

    Args:
        settings: Of the run, by dotted keys; ``privacy.epsilon`` is one of several.

    Raises:
        InputError: A setting breaks a rule, or ``dp-accounting`` isn't installed.
    """
    from fedkd.protocol.resolve import experiment_of
    from sims.run import absolute

    given = absolute(check_settings(settings))
    asked = PrivacyConfig(float(given.get("privacy.epsilon", 0.0))).epsilon
    assumed: dict[str, Scalar] = {"exchange.weighting": "uniform"}
    if "clients" in given:
        assumed["partition.kind"] = "nodes"  # nobody has to be dealt examples, which may be too few
    promise = experiment_of({**assumed, **given, "privacy.epsilon": EPSILONS[0]}).promise
    assert promise is not None
    wanted = sorted({*EPSILONS, asked} - {0.0})
    return [_with(promise, epsilon) for epsilon in wanted]


def _with(promise: "Promise", epsilon: float) -> "Promise":
    return replace(promise, epsilon=epsilon, multiplier=promise.accountant.multiplier(epsilon, promise.rounds))


def _table(promises: list["Promise"]) -> Table:
    """A row for each epsilon: noise of this run, and of the same with more clients."""
    held = promises[0].accountant
    share = held.participants / held.clients
    more = [count for count in CLIENTS if held.clients < count < 1 / held.delta]
    columns = {held.clients: held}
    columns |= {count: replace(held, clients=count, participants=max(1, round(share * count))) for count in more}
    table = Table(box=None)
    for name in ("epsilon", "multiplier", *map(_clients, columns.values())):
        table.add_column(name, justify="right", no_wrap=True)
    for promise in promises:
        prices = (_with(replace(promise, accountant=each), promise.epsilon).relative_noise for each in columns.values())
        table.add_row(f"{promise.epsilon:g}", f"{promise.multiplier:.3g}", *(f"{price:.2g}" for price in prices))
    return table


def _clients(held: "Accountant") -> str:
    return f"{held.participants:,} of {held.clients:,}" if held.samples else f"{held.clients:,} clients"
