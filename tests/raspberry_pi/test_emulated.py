"""A Raspberry Pi 4 that isn't there takes part in a round, and takes a model from a hub."""

import contextlib
import functools
import json
import os
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from clients.node.state_folder import StateFolder
from fedkd.base.errors import InputError, RunError
from fedkd.base.tensors import digest
from server.hub.publish import publish
from sims.emulate.client import ClientPi4, NodePi4, likeness, play, prepare
from sims.emulate.device import DevicePi4
from sims.emulate.setup import setup
from sims.run import run

SETTINGS = {"task": "digits", "clients": 30, "rounds": 3, "train.epochs": 1, "exchange.energy_start": 0.6}


def emulated(kind, folder):
    """A device set up in the folder of ``FEDKD_PI4``, or in one of this test; gigabytes either way."""
    if shutil.which("apt-get") is None:
        pytest.skip("a Raspberry Pi is set up from Debian's packages: there is no apt-get")
    home = Path(os.environ.get("FEDKD_PI4", folder))
    if kind is ClientPi4 and not kind(home.absolute()).packages.exists():
        pytest.skip("takes 2.3 GB: run python -m sims.emulate.setup --client DIR, and set FEDKD_PI4=DIR")
    try:
        return setup(home, kind)
    except RunError as error:
        pytest.skip(f"no emulated Raspberry Pi: {error}")


@pytest.mark.faults
@pytest.mark.parametrize("kind", [ClientPi4, NodePi4])
def test_a_client_on_a_pi_decodes_the_bits_of_the_server_and_trains_like_this_machine(tmp_path, reached, kind):
    """One folder goes to both machines: the client's state of round 1, written here, and the offer of round 2."""
    device = emulated(kind, tmp_path)
    prepare(tmp_path / "here", SETTINGS, by_file=kind is NodePi4)
    shutil.copytree(tmp_path / "here", tmp_path / "pi")
    here, pi = play(tmp_path / "here"), play(tmp_path / "pi", device)

    assert pi.base == here.base == pi.announced
    assert pi.decoded == digest(pi.update)
    cosine, difference = likeness(here.update, pi.update)
    reached(f"update of an emulated Pi, {kind.__name__}, largest difference", difference)
    reached(f"update of an emulated Pi, {kind.__name__}, cosine", f"{cosine:.9f}")
    reached(f"round on an emulated Pi, {kind.__name__}, MB", pi.memory / 1e6)
    assert cosine > 0.999
    saved, ours = (StateFolder(tmp_path / name / "state", "emulated").load() for name in ("pi", "here"))
    assert saved.round == ours.round == 2
    assert digest(saved.base) == digest(ours.base)
    assert {group: [a.shape for a in arrays] for group, arrays in saved.local.items()} == {
        group: [a.shape for a in arrays] for group, arrays in ours.local.items()
    }


@pytest.mark.faults
def test_a_device_on_a_pi_fetches_verifies_and_runs_an_int8_model(tmp_path):
    """Its answers to the golden examples are those that were signed on this machine, decided alike."""
    device = emulated(DevicePi4, tmp_path / "pi4")
    quick = {"task": "digits", "clients": 2, "rounds": 1, "train.epochs": 1, "edge.precisions": "int8"}
    run(quick, "local", tmp_path / "run", False, False, Console(quiet=True))
    manifest, hub, _ = publish(tmp_path / "run", tmp_path / "hub", "", "default")
    with served(hub.served) as url:
        asked = ["run", "--hub", url, "--state", str(tmp_path / "state"), "--root", str(hub.first_root)]
        first, again = device.fedkd_device(*asked), device.fedkd_device(*asked)
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert found["update"] == "new"
    assert found["model"]["sha256"] == manifest.file["sha256"]
    assert [answer["class"] for answer in found["answers"]] == manifest.golden.logits.argmax(-1).tolist()
    assert json.loads(again.stdout)["update"] == "none"


@pytest.mark.faults
def test_a_round_in_a_process_of_its_own_is_that_round(tmp_path):
    """Twice from the same files: the same bits; and the base is what the server announced."""
    prepare(tmp_path / "one", SETTINGS)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = play(tmp_path / "one"), play(tmp_path / "two")
    assert one.base == one.announced
    assert one.decoded == two.decoded == digest(one.update)
    assert likeness(one.update, two.update) == pytest.approx((1, 0))


def test_a_client_that_is_not_set_up_is_one_line(tmp_path):
    with pytest.raises(InputError, match="no Raspberry Pi 4 is set up"):
        ClientPi4(tmp_path).run("-c", "pass")


def test_likeness_of_updates_by_hand():
    one = [np.array([3, 0], np.float32), np.array([[0]], np.float32)]
    other = [np.array([3, 4], np.float32), np.array([[0]], np.float32)]
    assert likeness(one, other) == pytest.approx((3 / 5, 4 / 3))


@contextlib.contextmanager
def served(folder):
    """A web server of files on a free port of the loopback interface."""
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass
