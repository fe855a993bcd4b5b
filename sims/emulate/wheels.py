"""``python -m sims.emulate.wheels``: what a Raspberry Pi installs, from wheels alone, and what has none for it."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Annotated

import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fedkd.base.errors import RunError
from fedkd.base.python import python as this_python
from sims.exit_codes import errors_for_people

_PROJECT = Path(__file__).parents[2]
_FILES = {
    "client": _PROJECT / "pyproject.toml",
    "node": _PROJECT / "clients" / "node" / "pyproject.toml",
    "device": _PROJECT / "clients" / "device" / "pyproject.toml",
}
# pip takes platforms by their exact names: one for each C library up to Debian 12's, 2.36.
_PLATFORMS = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 37))]
_LACKING = re.compile(r"No matching distribution found for (\S+)|no matching distributions.*?:\n((?: +\S+\n?)+)")


def requirements(role: str) -> list[str]:
    """What a ``client``, a ``node`` without TensorFlow or a ``device`` needs, as pip takes it.

    Raises:
        RunError: This isn't a checkout of the project.
    """
    try:
        project = tomllib.loads(_FILES[role].read_text(encoding="utf-8"))["project"]
    except OSError as error:
        raise RunError(f"{_FILES[role]}: {error.strerror}; what a {role} needs is read from a checkout") from None
    return list(project["dependencies"])


def for_pi(python: str) -> list[str]:
    """Options with which pip chooses wheels for Raspberry Pi OS, 64 bit, and a Python such as 3.11."""
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--only-binary=:all:", "--implementation=cp"]
    return [*options, f"--python-version={python}", *(f"--platform={name}" for name in _PLATFORMS)]


def resolve(wanted: list[str], python: str) -> list[str]:
    """Choose wheels for all that is wanted and all that it needs in turn, and install nothing.

    Args:
        wanted: Requirements as pip takes them.
        python: Such as 3.11.

    Returns:
        ``name==version``, sorted.

    Raises:
        RunError: A package has no wheel, the index can't be reached, or what is chosen lacks something on aarch64.
    """
    # pip compares with what is installed, unless the target is a folder of its own.
    options = ["--dry-run", "--ignore-installed", "--target=none", "--report=-"]
    command = this_python("-m", "pip", "install", *for_pi(python), *options, *wanted)
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode and "connection broken by" in done.stderr:
        raise RunError("pip's index can't be reached")
    if done.returncode:
        raise RunError(f"no wheels for Python {python} on aarch64: {lacking(done.stderr)}")
    chosen = [item["metadata"] for item in json.loads(done.stdout)["install"]]
    if missing := _missing(chosen, python):
        raise RunError(f"needed on aarch64, and not on this machine: {', '.join(missing)}")
    return sorted(f"{canonicalize_name(each['name'])}=={each['version']}" for each in chosen)


def lacking(text: str) -> str:
    """The packages of which pip said that there are none, else pip's last line."""
    names = [name for one, more in _LACKING.findall(text) for name in (one, *more.split()) if name]
    return ", ".join(dict.fromkeys(names)) or (text.strip().splitlines() or ["no reason given"])[-1]


def _missing(chosen: list[dict[str, object]], python: str) -> list[str]:
    """What the markers of aarch64 ask for beside what was chosen: pip evaluates those of the machine it runs on."""
    pi = {"platform_machine": "aarch64", "python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    have = {canonicalize_name(str(each["name"])) for each in chosen}
    needs = [Requirement(text) for each in chosen for text in each.get("requires_dist", [])]  # type: ignore[attr-defined]
    return sorted(
        {str(need) for need in needs if need.marker and need.marker.evaluate(pi)}
        - {str(need) for need in needs if canonicalize_name(need.name) in have}
    )


def main(
    role: Annotated[str, typer.Argument(help="client, node or device.")] = "client",
    python: Annotated[str, typer.Option(help="Of Raspberry Pi OS: 3.11 in bookworm, 3.13 in trixie.")] = "3.11",
) -> None:
    """List the wheels that a Raspberry Pi installs; exit code 1 where a package has none."""
    with errors_for_people():
        print("\n".join(resolve(requirements(role), python)))


if __name__ == "__main__":
    typer.run(main)
