"""Laws of a Raspberry Pi 4 that isn't there. All but one take a stand-in: a script in the emulator's place that starts
this machine's Python on what the emulator was given."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError, RunError
from fedkd.edge.contents import contents
from fedkd.edge.convert import convert_here
from fedkd.edge.emulated import PI4, Difference, Pi4, compare, emulate
from fedkd.edge.runtime import predict
from sims.emulate.setup import reason, setup, write_processor

X = np.random.default_rng(0).normal(size=(20, 8, 8, 1)).astype(np.float32)
SKIPS_ITS_OWN_OPTIONS = f'#!/bin/sh\nshift 5\nexec {sys.executable} "$@"\n'


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    keras.utils.set_random_seed(0)
    out = tmp_path_factory.mktemp("files")
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(8, 3, activation="relu")])
    model.add(layers.Flatten())
    model.add(layers.Dense(10))
    model.save(out / "model.keras")
    np.save(out / "calibration.npy", X)
    done = convert_here(out / "model.keras", out, out / "m", ["float32", "int8", "int16x8"])
    return {each.precision: each.path for each in done if each.path}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))  # a system's own emulator would be taken
    return stand_in(tmp_path / "pi4", SKIPS_ITS_OWN_OPTIONS)


def stand_in(home: Path, emulator: str) -> Path:
    device = Pi4(home)
    device.python.parent.mkdir(parents=True)
    device.python.touch()
    device.own_qemu.write_text(emulator)
    device.own_qemu.chmod(0o755)
    device.packages.symlink_to(sysconfig.get_path("purelib"))
    return home


def test_the_device_has_its_own_packages_and_answers_as_predict_does(files, home):
    assert np.array_equal(emulate(files["int8"], X, home), predict(files["int8"], X))
    assert np.array_equal(emulate(files["float32"], X, home), predict(files["float32"], X))


def test_device_code_needs_no_more_than_the_device_has(home):
    """The stand-in has all of this machine's packages, so what is imported shows what is asked for."""
    code = "import sys, fedkd.edge.emulated; print({'keras', 'tensorflow', 'sklearn', 'typer'} & set(sys.modules))"
    assert Pi4(home).run("-c", code).stdout.strip() == "set()"


def test_a_step_of_difference_is_counted_in_steps_of_the_output():
    """Row 0 is off by 2 steps of 0.5, row 1 by 1 step."""
    expected = np.array([[3.0, 0.0], [1.0, 0.5]], np.float32)
    emulated = np.array([[2.0, 0.0], [0.5, 1.0]], np.float32)
    assert compare(expected, emulated, 0.5) == Difference(difference=1.0, steps=2)
    assert compare(expected, emulated, 0.0).steps is None


def test_only_integers_have_steps(files):
    scales = {precision: contents(path).output_scale for precision, path in files.items()}
    assert scales["float32"] == 0
    assert 0 < scales["int16x8"] < scales["int8"] / 100


def test_the_runtime_of_the_table_is_the_device_in_the_home_folder(files, home, monkeypatch):
    monkeypatch.setattr("fedkd.edge.emulated.HOME", home)
    assert PI4.installed()
    assert np.array_equal(PI4.run(files["int8"], X).outputs, predict(files["int8"], X))
    Pi4(home).own_qemu.write_text("#!/bin/sh\necho no library >&2\nexit 1\n")
    with pytest.raises(InputError, match=r"doesn't work \(no library\): remove the folder and run python -m sims"):
        PI4.check()


def test_where_no_device_is_set_up_the_command_for_it_is_named(files, tmp_path):
    with pytest.raises(InputError, match=rf"run python -m sims\.emulate\.setup {tmp_path}$"):
        emulate(files["int8"], X, tmp_path)


def test_a_device_of_another_litert_is_not_set_up(files, home):
    packages = Pi4(home).packages
    packages.rename(packages.with_name("litert-0.1"))
    with pytest.raises(InputError, match="no Raspberry Pi 4 is set up"):
        emulate(files["int8"], X, home)


def test_what_the_device_refuses_is_said_in_its_own_words(files, home, tmp_path):
    (tmp_path / "cut.tflite").write_bytes(files["int8"].read_bytes()[:200])
    with pytest.raises(InputError, match=r"^\S+cut\.tflite must be a TFLite file"):
        emulate(tmp_path / "cut.tflite", X, home)
    with pytest.raises(InputError, match=r"^x must have shape \(n, 8, 8, 1\), got \(20, 8\)$"):
        emulate(files["int8"], X[:, 0, :, 0], home)


def test_an_emulator_that_dies_is_one_line(files, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # a system's own emulator would be taken
    words = "qemu: uncaught target signal 11"
    home = stand_in(tmp_path / "pi4", f"#!/bin/sh\necho INFO: ready >&2\necho '{words}' >&2\nexit 139\n")
    with pytest.raises(InputError, match=rf"m_int8\.tflite can't run on an emulated Raspberry Pi 4: {words}$"):
        emulate(files["int8"], X, home)


def test_set_up_leaves_what_is_there(home):
    """Neither apt nor pip may be called: no network is needed the second time."""
    before = sorted((path, path.stat().st_mtime_ns) for path in home.iterdir() if path.is_file())
    setup(home)
    assert sorted((path, path.stat().st_mtime_ns) for path in home.iterdir() if path.is_file()) == before


def test_set_up_without_apt_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="takes apt-get and dpkg-deb"):
        setup(tmp_path / "pi4")
    assert list((tmp_path / "pi4").iterdir()) == []


def test_the_processor_is_four_cortex_a72(tmp_path):
    write_processor(tmp_path)
    cores = (tmp_path / "proc/cpuinfo").read_text().strip().split("\n\n")
    assert [core.splitlines()[0] for core in cores] == [f"processor\t: {number}" for number in range(4)]
    assert all("CPU implementer\t: 0x41" in core and "CPU part\t: 0xd08" in core for core in cores)
    assert (tmp_path / "sys/devices/system/cpu/possible").read_text() == "0-3\n"


def test_the_reason_is_the_first_error_and_not_what_follows_from_it():
    assert reason("Ign:1\nW: Failed to fetch x\nE: Unable to locate package y\n") == "W: Failed to fetch x"
    assert reason("a warning\nlast words\n\n") == "last words"
    assert reason("") == "no reason given"


@pytest.fixture(scope="module")
def pi4(tmp_path_factory: pytest.TempPathFactory) -> Pi4:
    """The emulated device: the one of ``FEDKD_PI4``, or one set up for this test."""
    if shutil.which("apt-get") is None:
        pytest.skip("a Raspberry Pi is set up from Debian's packages: there is no apt-get")
    return setup(Path(os.environ.get("FEDKD_PI4", tmp_path_factory.mktemp("pi4"))))


@pytest.mark.slow
@pytest.mark.parametrize("precision, steps", [("float32", None), ("int8", 2), ("int16x8", 0)])
def test_a_raspberry_pi_decides_as_this_machine_does(files, pi4, precision, steps):
    """Kernels of the two processors may round int8 to neighbouring steps; those of int16x8 are the same loops."""
    here, there = predict(files[precision], X), emulate(files[precision], X, pi4.home)
    found = compare(here, there, contents(files[precision]).output_scale)
    assert np.array_equal(here.argmax(-1), there.argmax(-1))
    assert found.difference < 1e-4 if steps is None else found.steps <= steps
