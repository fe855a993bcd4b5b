"""The command of a device: what it prints, and how it ends."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from clients.device import cli
from clients.device.state import State
from tests.device.models import adder, release

ROOT = Path(__file__).parents[2]
AWAY = "127.0.0.1:9"


@pytest.fixture
def run(monkeypatch, capsys):
    """Exit code, what is printed as JSON, and lines on standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["fedkd-device", "run", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code, json.loads(said.out) if said.out else None, said.err.splitlines()

    return call


def test_a_hub_that_is_none_leaves_no_folder(run, tmp_path):
    code, _, _ = run("--hub", "nonsense", "--state", tmp_path / "new")
    assert code == 2
    assert not (tmp_path / "new").exists()


def test_a_device_whose_hub_is_away_goes_on_with_its_model(run, place):
    """Version 2 adds 1 to green."""
    np.save(place / "x.npy", np.array([[0.5, 0, 0], [3, 0, 0]], np.float32))
    code, found, said = run("--hub", AWAY, "--insecure", "--state", place / "state", "--input", place / "x.npy")
    assert code == 0
    assert [answer["label"] for answer in found["answers"]] == ["green", "red"]
    assert found["model"]["version"] == 2
    assert found["update"].startswith("hub 127.0.0.1:9: unavailable")
    assert [line.split(":")[0] for line in said] == ["no update"]


def test_a_model_that_dies_after_its_trial_makes_room_for_the_one_before(run, place, newest):
    """Its bytes rot: the file that runs is the one before, and the hub has nothing else."""
    current = State(place / "state").current()
    current.model.write_bytes(adder((0, 0, 0)))
    code, found, _ = run("--hub", AWAY, "--insecure", "--state", place / "state")
    assert (code, found["model"]["version"]) == (0, 1)


def test_a_model_that_stops_running_is_left_for_the_one_before(run, place, monkeypatch):
    from clients.device import classify
    from clients.device.errors import ModelRefused

    broken, real = State(place / "state").current().name, classify.trial.run

    def fails(model, x):
        if model.parent.name == broken:
            raise ModelRefused("the model can't run here: it took its process down (SIGSEGV)")
        return real(model, x)

    monkeypatch.setattr(classify.trial, "run", fails)
    code, found, _ = run("--hub", AWAY, "--insecure", "--state", place / "state")
    assert (code, found["model"]["version"]) == (0, 1)
    assert found["failed"] == ["version 2: the model can't run here: it took its process down (SIGSEGV)"]
    assert State(place / "state").current().manifest.version == 1


def test_examples_that_are_too_much_cost_no_model(run, place, monkeypatch):
    """No model is given up for failing on what is fed to it while it answers its golden examples."""
    from clients.device import classify
    from clients.device.errors import ModelRefused

    def slow(model, x):
        raise ModelRefused("the model takes longer than 120 s")

    np.save(place / "x.npy", np.zeros((9, 3)))
    with monkeypatch.context() as patched:
        patched.setattr(classify.trial, "run", slow)
        code, found, said = run("--hub", AWAY, "--insecure", "--state", place / "state", "--input", place / "x.npy")
    assert (code, found) == (1, None)
    assert "no model runs on this device; version 2: the model takes longer than 120 s; version 1" in said[1]
    assert [item.manifest.version for item in State(place / "state").candidates()] == [2, 1]


def test_a_new_device_without_a_hub_ends_with_code_1(run, tmp_path, newest):
    code, found, said = run("--hub", AWAY, "--insecure", "--state", tmp_path / "new", "--root", newest.first_root)
    assert (code, found) == (1, None)
    assert said[1] == "error: no model runs on this device"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--state", "new"], "--root FILE is needed the first time"),
        (["--state", "new", "--root", "none.json"], "none.json: No such file"),
        (["--state", "new", "--root", "state/pointer.json"], "must be the root metadata of a TUF repository"),
        (
            ["--state", "new", "--root", "state/metadata/timestamp.json"],
            "must be the root metadata of a TUF repository",
        ),
        (["--state", "state", "--root", "other.json"], "trusts another root already"),
        (["--state", "state", "--ca", "root.json"], "root.json: No such file"),
        (["--state", "state", "--ca", "four.npy"], "--ca four.npy: must hold certificates, PEM"),
        (["--state", "state", "--channel", "../up"], "argument --channel: a channel must be 1 to 64 of"),
        (
            ["--state", "state", "--interval", "0"],
            "argument --interval: must be seconds, at least 1, at most 31,622,400, got '0'",
        ),
        (
            ["--state", "state", "--ram", "-1"],
            "argument --ram: must be a whole number of bytes, 0 to 2^63 - 1, got '-1'",
        ),
        (["--state", "state", "--flash", str(2**64)], "argument --flash: must be a whole number of bytes"),
        (["--state", "state", "--timeout", "nan"], "argument --timeout: must be seconds, above 0"),
        (["--state", "state", "--input", "zip.npy"], "--input zip.npy: must be a .npy of numbers"),
        (["--state", "state", "--input", "huge.npy"], "--input huge.npy: must be a .npy of numbers"),
        (["--state", "state", "--hub", "nonsense"], "--hub: must be HOST:PORT or a URL, got 'nonsense'"),
        (["--state", "state", "--input", "state/root.json"], "must be a .npy of numbers"),
        (["--state", "state", "--input", "four.npy"], "must have shape (3,), or (n, ...) of that, got (4,)"),
        (["--state", "state/root.json"], "--state state/root.json"),
    ],
)
def test_bad_input_is_one_line_and_code_2(run, place, monkeypatch, arguments, said):
    from tests.device.hubs import hub

    monkeypatch.chdir(place)
    np.save("four.npy", np.zeros(4))
    Path("zip.npy").write_bytes(b"PK\x03\x04 and no archive")
    with open("huge.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 59,)})
    if "other.json" in arguments:
        Path("other.json").write_bytes(hub(place / "stranger").first_root.read_bytes())
    code, found, lines = run("--hub", AWAY, "--insecure", *arguments)
    assert (code, found) == (2, None)
    assert lines[-1].startswith("error: ")
    assert said in lines[-1]
    assert not (place / "new" / "root.json").exists()


def test_two_processes_do_not_share_a_folder(run, place):
    with State(place / "state").alone():
        code, _, said = run("--hub", AWAY, "--insecure", "--state", place / "state")
    assert code == 2
    assert "another fedkd-device uses this folder" in said[-1]


@pytest.mark.slow
def test_a_service_goes_on_until_it_is_told_to_stop(place):
    command = [sys.executable, "-m", "clients.device", "run", "--hub", AWAY, "--insecure", "--interval", "1"]
    with subprocess.Popen(
        [*command, "--state", place / "state"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as device:
        passes = [json.loads(device.stdout.readline()) for _ in range(2)]
        device.terminate()
        assert device.wait(20) == 0
    assert [found["model"]["version"] for found in passes] == [2, 2]


@pytest.mark.slow
def test_a_service_survives_an_input_that_does_not_fit(place):
    """A model of another shape, or a file that another program is just writing: a line, and the next pass."""
    np.save(place / "x.npy", np.zeros(4))
    command = [sys.executable, "-m", "clients.device", "run", "--hub", AWAY, "--insecure", "--interval", "1"]
    with subprocess.Popen(
        [*command, "--state", place / "state", "--input", place / "x.npy"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as device:  # fmt: skip
        said = iter(device.stderr.readline, "")
        assert "must have shape (3,)" in next(line for line in said if not line.startswith("no update"))
        np.save(place / "y.npy", np.zeros(3))
        (place / "y.npy").replace(place / "x.npy")
        assert json.loads(device.stdout.readline())["model"]["version"] == 2
        device.terminate()
        assert device.wait(20) == 0


def test_a_model_that_answers_otherwise_since_it_was_adopted_makes_room_for_the_one_before(run, place, monkeypatch):
    """As after another version of LiteRT: it runs, and every logit is 1 too large."""
    from clients.device import classify

    np.save(place / "x.npy", np.zeros(3))
    current, real = State(place / "state").current().name, classify.trial.run

    def drifted(model, x):
        answer = real(model, x)
        return answer._replace(logits=answer.logits + 1) if model.parent.name == current else answer

    monkeypatch.setattr(classify.trial, "run", drifted)
    code, found, _ = run("--hub", AWAY, "--insecure", "--state", place / "state", "--input", place / "x.npy")
    assert (code, found["model"]["version"]) == (0, 1)
    assert found["failed"] == ["version 2: the model fails its golden examples: logits differ by 1, 0.001 allowed"]
    assert State(place / "state").current().manifest.version == 1


def test_golden_examples_are_compared_once_in_a_process(device, tmp_path, monkeypatch):
    from clients.device import classify

    np.save(tmp_path / "x.npy", np.zeros(3))
    asked, real = [], classify.trial.run
    monkeypatch.setattr(classify.trial, "run", lambda model, x: (asked.append(len(x)), real(model, x))[1])
    passed = set()
    for _ in range(2):
        classify.classify(device, tmp_path / "x.npy", passed)
    assert asked == [4, 1, 1]


def test_the_child_process_imports_nothing_of_the_current_folder(device, tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('not numpy')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert device.current() is not None
    from clients.device.trial import check_golden

    assert check_golden(device.current().model, device.current().manifest)[1] == 1.0


def test_a_card_that_went_read_only_still_has_its_model(run, place, monkeypatch):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("clients.device.durable.write", refuse)
    code, found, _ = run("--hub", AWAY, "--insecure", "--state", place / "state")
    assert (code, found["model"]["version"]) == (0, 2)


def test_a_device_needs_no_training_library():
    code = (
        "import sys, clients.device.cli, clients.device.child;"
        "print({'keras', 'tensorflow', 'flwr', 'fedkd', 'safetensors'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


def test_the_devices_distribution_has_all_its_packages():
    held = tomllib.loads((ROOT / "clients/device/pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "clients/device").rglob("__init__.py")}
    assert set(held) == {name for name in found if not name.startswith("clients.device.build")}


def test_a_new_version_that_is_published_twice_is_one(behind, newest):
    from tests.device.hubs import fetched

    newest.publish(release(3, (0, 0, 1)))
    assert fetched(behind, newest).manifest.version == 3
    newest.refresh()
    assert fetched(behind, newest) is None


@pytest.mark.parametrize(
    "x, warned",
    [
        ([[0.5, -0.5, 0.99]], ""),
        ([[0.0, 0.0, 0.999]], ""),  # within a step
        (
            [[0.0, 0.0, 200.0], [0.1, 0.1, 0.1]],
            "1 of 2 examples have more than 10% of their numbers beyond -1 to 0.992",
        ),
        ([[-9.0, 9.0, 9.0], [9.0, 0.0, 0.0]], "2 of 2 examples"),
    ],
)
def test_examples_that_an_int8_input_cannot_hold_are_warned_of(x, warned):
    from clients.device.classify import _beyond

    said = _beyond(np.array(x, np.float32), {"dtype": "int8", "scale": 1 / 128, "zero_point": 0})
    assert said.startswith(warned) if warned else not said
    assert not _beyond(np.array(x, np.float32), {"dtype": "float32", "scale": 0.0, "zero_point": 0})


def test_a_warning_is_a_line_and_a_field_of_the_answer(run, place, monkeypatch):
    """As if the model had an int8 input of -1 to .992."""
    from clients.device import classify

    end, own = {"dtype": "int8", "scale": 1 / 128, "zero_point": 0}, classify._beyond
    monkeypatch.setattr(classify, "_beyond", lambda x, _: own(x, end))
    np.save(place / "x.npy", np.array([[128, 0, 255]], np.float32))
    code, found, said = run("--hub", AWAY, "--insecure", "--state", place / "state", "--input", place / "x.npy")
    assert code == 0
    assert found["warning"].startswith("1 of 1 examples have more than 10% of their numbers beyond")
    assert said[-1] == f"warning: {found['warning']}"
