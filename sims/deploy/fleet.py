"""A fleet as it is: what Flower says of its nodes, and what the history of a run says of the same."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedkd.protocol.messages import PEAK_BYTES, SECONDS
from fedkd.results.round import Round
from sims.deploy.flower import Node

ONLINE, NEVER = "online", "never online"
NOT_REGISTERED, UNKNOWN = "not registered", "unknown"


@dataclass(frozen=True)
class Member:
    """A node of a fleet.

    Args:
        number: Which one it is, the client's partition in a run; None of a node that isn't this deployment's.
        name: What people call it; Flower's id where it isn't this deployment's.
        state: ``online``, ``offline``, ``never online`` where its key is registered, ``not registered``, or ``unknown``
            where keys were registered by another command.
        since: When it went online or offline, in seconds since 1970; None where it never did.
        round: The last one to which it contributed; None where there is none.
        seconds: How long it worked on that.
        peak_bytes: The most memory that its process had then; None where it didn't say.
        refusals: How many of its answers were refused, or didn't come.
        why: The reason of the last of these, and what it means; empty where there is none.
        device_class: Its class of devices in that round; empty where it was of none.
    """

    number: int | None
    name: str
    state: str
    since: float | None = None
    round: int | None = None
    seconds: float | None = None
    peak_bytes: float | None = None
    refusals: int = 0
    why: str = ""
    device_class: str = ""


def fleet(
    names: Sequence[str], ids: Mapping[int, str], nodes: Sequence[Node], history: Sequence[Round] = ()
) -> list[Member]:
    """Put together what is known of each node.

    Args:
        names: Of the deployment's nodes.
        ids: Flower's of these, by their numbers, as far as they are known.
        nodes: Those that Flower knows.
        history: Rounds of the run that the nodes work on, or worked on last.

    Returns:
        The deployment's nodes in order, then those of others.
    """
    others = [node for node in nodes if node.id not in ids.values()]
    found = {node.id: node for node in nodes}
    lacking = UNKNOWN if others else NOT_REGISTERED
    members = []
    for number, name in enumerate(names):
        node = found.get(ids.get(number, ""))
        known = Member(number, name, _state(node), node.since) if node else Member(number, name, lacking)
        members.append(_with_history(known, ids.get(number, ""), history))
    return members + [Member(None, node.id, _state(node), node.since) for node in others]


def missing(members: Sequence[Member]) -> str:
    """Say how many of a deployment's nodes are online, and which aren't; empty where all are.

    >>> missing([Member(0, "kitchen", "online"), Member(1, "attic", "never online"), Member(2, "pi3", "offline")])
    '1 of 3 nodes is online; missing attic (never online), pi3 (offline)'
    """
    own = [member for member in members if member.number is not None]
    online = sum(member.state == ONLINE for member in members)
    if online >= len(own):
        return ""
    absent = [f"{member.name} ({member.state})" for member in own if member.state not in (ONLINE, UNKNOWN)]
    count = f"{online} of {len(own)} nodes {'is' if online == 1 else 'are'} online"
    return count + (f"; missing {', '.join(absent)}" if absent else "")


def _state(node: Node) -> str:
    return NEVER if node.status == "registered" else node.status


def _with_history(member: Member, id_: str, history: Sequence[Round]) -> Member:
    for row in history:
        if member.number is not None and member.number in row.participants:
            place = list(row.participants).index(member.number)
            figures = {name: row.clients[name][place] for name in (SECONDS, PEAK_BYTES) if name in row.clients}
            seconds, peak = figures.get(SECONDS), figures.get(PEAK_BYTES)
            held = row.classes[place] if place < len(row.classes) else ""
            member = replace(member, round=row.number, seconds=seconds, peak_bytes=peak, device_class=held)
        for entry in _refusals(row, member, id_):
            why = f"{entry.get('reason', '')}: {entry.get('why', '')}"
            member = replace(member, refusals=member.refusals + 1, why=f"round {row.number}: {why}")
    return member


def _refusals(row: Round, member: Member, id_: str) -> Iterator[Mapping[str, Any]]:
    """What was refused of a node in a round; who didn't say which client it is, is known by its id."""
    for entry in row.refused:
        if isinstance(entry, dict):
            client = entry.get("client")
            if client == member.number or (client is None and id_ and str(entry.get("node")) == id_):
                yield entry
