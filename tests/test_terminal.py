"""Laws of what commands write: what a user called something is shown as it is."""

import io

import pytest
from rich.table import Table
from typer.testing import CliRunner

from sims.cli import app
from sims.terminal import Terminal, warn
from tests.report.runs import a_round, write

NAMES = ["[bold]x", "[/]x", "[red]a[/red]", ":bomb:", "[link=http://x]y"]


def shown(write_to):
    text = io.StringIO()
    write_to(Terminal(file=text, width=200, force_terminal=True, color_system=None))
    return text.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_shown_as_they_are(name):
    def write_to(terminal):
        terminal.print(f"page: {name}")
        warn(terminal, name)
        table = Table(name, title=name)
        table.add_row(name)
        terminal.print(table)
        with terminal.status(f"measuring {name}"):
            pass

    said = shown(write_to)
    assert said.count(name) >= 5, said


@pytest.mark.parametrize("name", [NAMES[0], pytest.param(NAMES[1], marks=pytest.mark.slow)])
def test_commands_name_folders_as_they_are(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path.joinpath(*name.split("/"))
    folder.parent.mkdir(exist_ok=True)
    write(folder, [a_round(1, 2), a_round(2, 2)])
    for arguments in (["report", name], ["compare", name, name, "--out", f"{folder.name}.html"]):
        done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
        assert done.exit_code == 0, (done.output, done.exception)
        assert folder.name in done.output
