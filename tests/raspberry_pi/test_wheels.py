"""Laws of what a Raspberry Pi can install."""

import tomllib
from pathlib import Path

import pytest

from fedkd.base.errors import RunError
from sims.emulate import wheels

ROOT = Path(__file__).parents[2]
CONFLICT = """ERROR: Cannot install tensorflow because these package versions have conflicting dependencies.

Additionally, some packages in these conflicts have no matching distributions available for your environment:
    libclang
    other

To fix this you could try to:
"""


def test_a_client_needs_what_the_project_needs_and_a_device_no_tensorflow():
    assert (
        wheels.requirements("client") == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    )
    assert not any(text.startswith(("tensorflow", "keras", "flwr")) for text in wheels.requirements("device"))
    heavy = ("tensorflow", "keras", "scipy", "scikit-learn", "matplotlib")
    assert not any(text.startswith(heavy) for text in wheels.requirements("node"))


def test_what_needs_compiling_or_is_for_x86_alone_is_never_chosen():
    assert "--only-binary=:all:" in wheels.for_pi("3.11")
    platforms = [option for option in wheels.for_pi("3.11") if option.startswith("--platform")]
    assert platforms
    assert all(option.endswith("_aarch64") for option in platforms)


def test_packages_without_a_wheel_are_named():
    assert wheels.lacking(CONFLICT) == "libclang, other"
    text = (
        "ERROR: Could not find a version (versions: none)\nERROR: No matching distribution found for tensorflow-cpu\n"
    )
    assert wheels.lacking(text) == "tensorflow-cpu"
    assert wheels.lacking("") == "no reason given"


def test_what_only_aarch64_needs_is_noticed(monkeypatch):
    chosen = [
        {"name": "a", "requires_dist": ["b>=1; platform_machine == 'aarch64'", "c; platform_machine == 'x86_64'"]}
    ]
    assert wheels._missing(chosen, "3.11") == ['b>=1; platform_machine == "aarch64"']
    assert wheels._missing([*chosen, {"name": "B"}], "3.11") == []


def resolved(wanted):
    try:
        return dict(each.split("==") for each in wheels.resolve(wanted, "3.11"))
    except RunError as error:
        if "can't be reached" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.faults
@pytest.mark.parametrize("role", ["client", "device"])
def test_every_package_has_a_wheel_for_a_pi(role, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ("tensorflow" in resolved(wheels.requirements(role))) == (role == "client")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.faults
def test_tensorflow_for_cpus_alone_has_no_wheel_for_a_pi():
    with pytest.raises(RunError, match=r"^no wheels for Python 3\.11 on aarch64: tensorflow-cpu>=2\.20$"):
        resolved(["tensorflow-cpu>=2.20"])
