"""Which devices can be emulated."""

from fedkd.base.errors import InputError
from fedkd.edge.emulated import HOME, Pi4

DEVICES = ("pi4",)


def check_device(name: str) -> None:
    """Say why a device can't be emulated, before anything is done.

    Raises:
        InputError: It isn't known, or isn't set up, or its Python can't start or lacks LiteRT.
    """
    if name not in DEVICES:
        raise InputError(f"--emulate must be {' or '.join(DEVICES)}, got {name!r}")
    home = HOME.expanduser().absolute()
    started = Pi4(home).run("-c", "import ai_edge_litert, numpy")
    if started.returncode:
        said = (started.stderr.strip().splitlines() or [f"exit code {started.returncode}"])[-1]
        raise InputError(
            f"the emulated Raspberry Pi 4 in {home} doesn't work ({said}): remove the folder and run python -m"
            " sims.emulate.setup"
        )
