"""The Flower app as a folder that `flwr run` takes, made of the packages that are installed: no checkout is needed."""

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import tomli_w

from fedkd.config.config import Scalar
from fedkd.config.settings import nest

_PACKAGES = ("fedkd", "clients", "server")


def write_app(folder: Path, run_config: Mapping[str, Scalar]) -> None:
    """Write the sources of both apps and the ``pyproject.toml`` that describes them.

    Args:
        folder: Made; its name doesn't matter.
        run_config: What the apps see as their configuration, by dotted keys.
    """
    for package in _PACKAGES:
        spec = find_spec(package)
        source = Path(str(spec.origin if spec else None)).parent
        shutil.copytree(source, folder / package, ignore=_all_but_python)
    app = {
        "publisher": "fedkd",
        "components": {"serverapp": "server.app:app", "clientapp": "clients.node.app:app"},
        "config": nest(run_config),
    }
    project = {"name": "fedkd", "version": version("fedkd"), "description": "FedKD", "license": "Apache-2.0"}
    text = tomli_w.dumps({"project": project, "tool": {"flwr": {"app": app}}})
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")


def _all_but_python(folder: str, names: list[str]) -> list[str]:
    return [n for n in names if n == "__pycache__" or not (n.endswith(".py") or Path(folder, n).is_dir())]
