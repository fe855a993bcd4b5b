"""Pages of the site that follow from the code: commands, settings and public names; and those that lie beside docs/."""

import inspect
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

import fedkd
from fedkd.config.config import Config
from fedkd.config.device_class import SECTION, DeviceClass
from fedkd.config.methods import METHODS
from sims.cli import app

ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what isn't written by hand."""
    pages = {
        "reference/commands.md": _commands(),
        "reference/settings.md": _settings(),
        "reference/python.md": _names(),
        "changes.md": (ROOT / "CHANGELOG.md").read_text(),
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text().replace("](docs/", "]("),
    }
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))
    return files


def _commands() -> str:
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="fedkd"), name="fedkd")
    return "# Commands\n\n" + text.split("\n", 1)[1]


def _settings() -> str:
    """A table of keys for each section, with the method's own text before it."""
    parts = [
        "# Settings\n\nThe keys of a run's `config.toml`, of `--set KEY=VALUE` and of suites, with their values where "
        "neither task nor method chooses others. `fedkd run` writes those that were used into the run's folder.\n"
    ]
    whole = Config()
    top = [f.name for f in fields(Config) if f.name != SECTION and not is_dataclass(getattr(whole, f.name))]
    parts.append(_table(whole, top, ""))
    for field in fields(Config):
        section = getattr(whole, field.name)
        if is_dataclass(section):
            said = _plain(inspect.getdoc(section) or "")
            parts.append(f"## {field.name}\n\n{said}\n\n{_table(section, _keys(section), field.name + '.')}")
    example = DeviceClass("NAME")
    said, keys = _plain(inspect.getdoc(example) or ""), [key for key in _keys(example) if key != "name"]
    parts.append(f"## {example.key('')[:-1]}\n\n{said}\n\n{_table(example, keys, example.key(''))}")
    parts.append("## Methods\n\nWhat a method sets beside its defaults.\n\n" + _methods())
    return "\n".join(parts)


def _keys(section: Any) -> list[str]:
    return [field.name for field in fields(section)]


def _table(section: Any, keys: list[str], before: str) -> str:
    rows = [f"| `{before}{key}` | `{getattr(section, key)!r}` |" for key in keys]
    return "\n".join(["| key | value |", "|---|---|", *rows]) + "\n"


def _methods() -> str:
    rows = []
    for name, method in METHODS.items():
        said = ", ".join(f"`{key}={value}`" for key, value in method.settings.items())
        rows.append(f"| `{name}` | {said} |")
    return "\n".join(["| method | settings |", "|---|---|", *rows]) + "\n"


def _plain(docstring: str) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", docstring)


def _names() -> str:
    """Public names in the order of ``fedkd.__init__``, each with the docstring of what it stands for."""
    parts = ["# Public names\n\nThey stay when files move. `import fedkd` imports each when it is first asked for.\n"]
    for module, names in fedkd._MODULES.items():
        for name in names:
            there = fedkd._NAMES_THERE.get(name, name)
            options = f"    options: {{heading: fedkd.{name}, toc_label: {name}, heading_level: 2}}\n"
            parts.append(f"::: {module}.{there}\n{options}")
    return "\n".join(parts)
