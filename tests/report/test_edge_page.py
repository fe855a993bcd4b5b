"""Laws of the page of a search for a device's file, and of the files beside it."""

import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from fedkd.base.errors import InputError
from sims.report.edge_page import write_edge_page
from sims.report.html import Picture
from tests.report.edges import OPS, a_candidate, a_float_file, an_edge, write_edge
from tests.report.pages import assert_needs_nothing_from_outside
from tests.report.runs import NASTY

PICTURES = {"edge_stages", "edge_frontier", "edge_layers"}


@pytest.fixture(scope="module", autouse=True)
def coarse() -> Any:
    """Pictures that are quick to draw."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sims.report.html.RESOLUTION", 30)
        yield


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages whose pictures are empty, where only their words count."""
    monkeypatch.setattr("sims.report.edge_page.picture", lambda *words: Picture(*words[:3], light=b"", dark=b""))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search with a chosen file, one that failed and one that couldn't be made, with its page."""
    folder = write_edge(tmp_path_factory.mktemp("edge"), an_edge(a_candidate(), a_float_file()))
    write_edge_page(folder)
    return folder


def page_of(folder: Path, edge: Any) -> str:
    return write_edge_page(write_edge(folder, edge)).read_text()


def rows(page: str, heading: str) -> list[list[str]]:
    """Cells of the first table after a heading, without their markup."""
    table = re.search(rf"<h[23]>{heading}</h[23]>.*?<tbody>(.*?)</tbody>", page, re.S)
    assert table, heading
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in re.findall(r"<tr>.*?</tr>", table[1], re.S)]
    return [[unescape(" ".join(re.sub(r"<[^>]*>", " ", cell).split())) for cell in row] for row in cells]


def test_the_page_needs_nothing_from_outside(searched: Path) -> None:
    assert_needs_nothing_from_outside((searched / "edge.html").read_text(), len(PICTURES))


def test_every_picture_is_a_file_too_and_nothing_temporary_stays(searched: Path) -> None:
    written = {path.name for path in searched.iterdir()}
    assert written == {"edge.json", "edge.html"} | {f"{name}.png" for name in PICTURES}
    assert all((searched / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in PICTURES)


def test_equal_searches_have_equal_pages(searched: Path, tmp_path: Path) -> None:
    assert page_of(tmp_path, (searched / "edge.json").read_text()) == (searched / "edge.html").read_text()


def test_every_line_of_the_budget_has_its_runtime_and_verdict(searched: Path) -> None:
    page = (searched / "edge.html").read_text()
    assert rows(page, "The budget") == [
        ["Flash, B", "32,768", "10,888", "the file", "✓ pass"],
        ["Arena, B", "16,384", "4,832", "TFLite Micro", "✓ pass"],
        ["Accuracy lost, points", "1.0", "0.5", "TFLite Micro", "✓ pass"],
    ]


def test_stages_lead_from_the_teacher_to_the_file_in_each_runtime(searched: Path) -> None:
    """In TFLM 96.5 % are right, 347 of 360; Wilson's interval of that is 93.9 to 97.9 %."""
    stages = rows((searched / "edge.html").read_text(), "Accuracy at each stage")
    assert [row[:3] for row in stages] == [
        ["teacher", "Keras", "98.0 %"],
        ["student", "Keras", "97.0 %"],
        ["int8 file", "LiteRT", "96.8 %"],
        ["int8 file", "LiteRT, reference kernels", "96.7 %"],
        ["int8 file", "TFLite Micro", "96.5 %"],
    ]
    assert stages[0][3:] == ["95.9 to 99.0 %", "360"]
    assert stages[4][3:] == ["93.9 to 97.9 %", "360"]


@pytest.mark.usefixtures("undrawn")
def test_a_mean_over_clients_has_no_interval(tmp_path: Path) -> None:
    mean = {"name": "teacher", "runtime": "keras", "accuracy": 0.98, "low": None, "high": None}
    stages = rows(page_of(tmp_path, an_edge(a_candidate(), stages=[mean])), "Accuracy at each stage")
    assert stages[0] == ["teacher", "Keras", "98.0 %", "–, a mean over clients", "360"]


@pytest.mark.usefixtures("undrawn")
def test_what_was_not_learned_or_counted_and_an_emulated_device_are_shown(tmp_path: Path) -> None:
    emulated = {"machine": "pi4", "accuracy": 0.96, "agreement": 0.99, "difference": 0.5, "steps": 2}
    file = a_candidate(uncounted=["lstm"], skipped={"norm": "LayerNormalization"}, emulated=emulated)
    figures = rows(page_of(tmp_path, an_edge(file)), "The chosen file in figures")
    assert ["Layers whose MACs can't be counted", "lstm", "Keras"] in figures
    assert ["norm: its rounding wasn't learned", "LayerNormalization", "Keras"] in figures
    assert ["Logits differ from LiteRT's by at most", "2 steps", "an emulated Raspberry Pi 4"] in figures


def test_every_figure_of_the_chosen_file_names_its_runtime(searched: Path) -> None:
    figures = rows((searched / "edge.html").read_text(), "The chosen file in figures")
    assert ["Arena, activations (head), B", "3,200", "TFLite Micro"] in figures
    assert ["MACs", "120,000", "Keras"] in figures
    assert ["Latency, median, ms", "0.087", "LiteRT, one thread of Intel(R) Xeon(R), 2 cores"] in figures
    assert all(runtime for _, _, runtime in figures)


def test_a_file_is_listed_with_its_verdict_and_the_ops_that_a_runtime_lacks(searched: Path) -> None:
    """The accuracy is that of the worst runtime of a device: 96.5 % in TFLM, not 96.8 % in LiteRT."""
    chosen, failed = rows((searched / "edge.html").read_text(), "Every file")
    assert "✓ usable" in chosen[0]
    assert chosen[1:] == ["10,888 7,690 gzip", "4,832 TFLite Micro", "120,000 Keras", "96.5 % TFLite Micro"]
    assert "✗ failed: arena not measured in tflm" in failed[0]
    assert "TFLite Micro lacks GELU" in failed[0]
    assert failed[2:] == ["– not run", "120,000 Keras", "97.0 % LiteRT"]


def test_ops_layers_and_hash_of_the_calibration_set_are_shown(searched: Path) -> None:
    page = (searched / "edge.html").read_text()
    assert rows(page, "Ops") == [["CONV_2D", "3", "✓ yes", "✓ yes"]]
    conv, flatten = rows(page, "Layers")
    assert conv == ["conv Conv2D, counted in Keras; SNR in LiteRT", "8 × 8 × 16", "160", "9,216", "31.5"]
    assert flatten[-1] == "–"
    assert "64 examples, SHA-256 0123456789abccc" in page


def test_reference_models_stand_beside_for_scale(searched: Path) -> None:
    page = (searched / "edge.html").read_text()
    keywords = rows(page, "For scale")[0]
    assert keywords == ["Keyword spotting arena in TFLite Micro", "53,936", "24,272", "2,660,000", "90 %"]
    assert "Banbury et al. 2021" in page


@pytest.mark.usefixtures("undrawn")
def test_every_text_is_escaped(tmp_path: Path) -> None:
    file = a_candidate(NASTY, recipe=NASTY, precision=NASTY, errors={NASTY: NASTY}, verdict=f"failed: {NASTY}")
    file |= {"ops": [OPS[0] | {"name": NASTY}], "checks": [file["checks"][0] | {"line": NASTY, "runtime": NASTY}]}
    file |= {"layers": [file["layers"][0] | {"name": NASTY, "kind": NASTY}], "accuracy": {NASTY: 0.9}}
    stage = {"name": NASTY, "runtime": NASTY, "accuracy": 0.9, "low": 0.8, "high": 1.0}
    closest = {"path": NASTY, "misses": [NASTY], "relax": NASTY, "leave_out": [NASTY]}
    texts = {"task": NASTY, "source": NASTY, "hardware": NASTY, "stages": [stage], "chosen": None, "closest": closest}
    page = page_of(tmp_path, an_edge(file, **texts, calibration={"rows": 1, "sha256": NASTY}))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 20


def test_names_that_look_like_mathematics_are_drawn_as_they_are(tmp_path: Path) -> None:
    odd = r"$\nothing$ _^{"
    file = a_candidate(layers=[a_candidate()["layers"][0] | {"name": odd}])
    stage = {"name": odd, "runtime": odd, "accuracy": 0.9, "low": 0.8, "high": 1.0}
    assert odd in unescape(page_of(tmp_path, an_edge(file, stages=[stage])))


@pytest.mark.usefixtures("undrawn")
def test_without_a_usable_file_the_page_says_what_came_closest_and_what_to_relax(tmp_path: Path) -> None:
    closest = {"path": "s_float16.tflite", "misses": ["flash: 40,120 bytes, 32,768 allowed"], "relax": "flash=40KB"}
    closest |= {"leave_out": ["arena"]}
    page = page_of(tmp_path, an_edge(a_float_file(), chosen=None, closest=closest))
    assert "No file meets the budget." in page
    assert "flash: 40,120 bytes, 32,768 allowed" in page
    assert "To allow it: <code>flash=40KB</code>" in page
    assert "To leave out: <code>arena</code>" in page
    assert "can't run it: s_float16.tflite can't run: no kernel for GELU" in unescape(page)
    assert rows(page, "The budget") == [["Arena, B", "16,384", "–", "TFLite Micro", "✗ fail"]]
    assert not (tmp_path / "edge_layers.png").exists()


def test_a_search_that_made_nothing_still_says_why(tmp_path: Path) -> None:
    page = page_of(tmp_path, an_edge(stages=[]))
    assert "No file could be made." in page
    assert rows(page, "What couldn't be made") == [[NASTY, "the converter died: rolled LSTM in int8"]]
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.usefixtures("undrawn")
def test_forty_files_with_long_names_have_one_page(tmp_path: Path) -> None:
    files = [
        a_candidate(f"{number}.tflite", recipe="filterlets 30%, " * 20, flash_bytes=900 * 2 ** (number % 8))
        for number in range(40)
    ]
    page = page_of(tmp_path, an_edge(*files))
    assert len(rows(page, "Every file")) == 40
    assert page.count("<details>") == 39


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        ("{", "not JSON"),
        ("[1]", r"it must be an object, got \[1\]"),
        ({"task": "digits"}, "it must have the key 'source'"),
        (an_edge(a_candidate() | {"flash_bytes": "big"}), r"candidates\[0\].flash_bytes must be a number, got 'big'"),
        (an_edge(a_candidate() | {"flash_bytes": -1}), r"candidates\[0\].flash_bytes must be at least 0, got -1"),
        (an_edge(a_candidate() | {"accuracy": {"tflm": 97}}), r"candidates\[0\].quality.tflm must be in \[0, 1\]"),
        (an_edge(n=0), "n must be a whole number from 1, got 0"),
        (an_edge(chosen="x.tflite"), "chosen must be a candidate's path, got 'x.tflite'"),
        (an_edge(a_float_file()), "chosen must be a usable file, got 's_float16.tflite', failed: arena"),
    ],
)
def test_a_file_that_is_no_search_is_refused_in_one_line(tmp_path: Path, edge: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        write_edge_page(write_edge(tmp_path, edge))
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["edge.json"]


def test_a_folder_without_a_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a search leaves edge.json in its folder, .* has none"):
        write_edge_page(tmp_path)


def test_the_page_needs_no_tensorflow() -> None:
    code = "import sys, sims.report.edge_page; print({'keras', 'tensorflow', 'flwr'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
