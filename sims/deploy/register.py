"""Making the nodes' keys known to the SuperLink, and remembering the ids it gives them, which it says but once."""

from collections.abc import Callable

from fedkd.base.errors import RunError
from sims.deploy import flower
from sims.deploy.deployed import Deployed

# What Flower says of a key that is registered, or once was.
_KNOWN_KEY = "Public key already in use"


def register(deployed: Deployed, say: Callable[[str], None]) -> list[str]:
    """Register the keys that aren't yet, and remember their ids.

    Args:
        deployed: Whose SuperLink is up.
        say: Gets a line a node.

    Returns:
        What is left to be done by hand, a line a node.

    Raises:
        InputError: The deployment's folder can't be written.
        RunError: The SuperLink doesn't answer.
    """
    ids, known = deployed.ids, {node.id for node in flower.nodes(deployed.env)}
    unclear: list[int] = []
    for number, name in enumerate(deployed.names):
        if ids.get(number) in known:
            say(f"{name}: registered before")
            continue
        try:
            ids[number] = str(flower.register(deployed.env, deployed.public_key(number)))
        except RunError as error:
            if _KNOWN_KEY not in str(error):
                raise
            unclear.append(number)
            continue
        deployed.remember_ids(ids)
        say(f"{name}: registered")
    return [_by_hand(deployed, number) for number in unclear]


def _by_hand(deployed: Deployed, number: int) -> str:
    name = deployed.names[number]
    if number in deployed.ids:
        return f"{name}: its key was unregistered, and Flower takes none twice; `fedkd deploy init` makes new ones"
    return (
        f"{name}: its key was registered by another command, and Flower doesn't say as which node; the node's log does"
        f' (SuperNode ID): add {number} = "ID" to {deployed.ids_file}'
    )
