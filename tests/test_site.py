"""The documentation site is whole, and its guide can be walked."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs/guide.md"


@pytest.mark.slow
def test_the_site_has_every_page_and_no_link_leads_nowhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    settings = (tmp_path / "site/reference/settings.html").read_text()
    assert "exchange.energy_start" in settings
    assert "fedkd_plus" in settings
    assert "fedkd deploy init" in (tmp_path / "site/reference/commands.html").read_text()
    assert "quantize_aware" in (tmp_path / "site/reference/python.html").read_text()


@pytest.mark.slow
def test_the_guide_can_be_walked(tmp_path):
    text = GUIDE.read_text()
    [code] = re.findall(r"```python\n(.+?)```", text, re.S)
    commands = [shlex.split(line) for line in re.findall(r"^    fedkd (.+)$", text, re.M)]
    assert len(commands) > 5
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)
    for command in commands:
        call = [sys.executable, "-c", "from sims.cli import main; main()", *command]
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=3000)
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    assert (tmp_path / "runs/wine-nodes/student_int8.tflite").exists()
