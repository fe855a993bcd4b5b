"""Settings: the dotted keys by which files and commands set an experiment, and its TOML."""

import difflib
import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import tomli_w

from fedkd.base.errors import InputError, require
from fedkd.config.config import Config, Scalar, Settings
from fedkd.config.device_class import SECTION, DeviceClass, check_name
from fedkd.config.methods import method


def keys(of: type = Config, prefix: str = "") -> Iterator[tuple[str, type]]:
    """All dotted keys of a configuration with their types, e.g. ``("train.epochs", int)``."""
    for item in fields(of):
        kind = item.type
        if is_dataclass(kind) and isinstance(kind, type):
            yield from keys(kind, f"{prefix}{item.name}.")
        elif isinstance(kind, type):
            yield f"{prefix}{item.name}", kind


def class_keys(name: str) -> dict[str, type]:
    """The dotted keys of a class of devices with their types, e.g. ``{"classes.zero.epochs": int}``."""
    found = dict(keys(DeviceClass, f"{SECTION}.{name}."))
    del found[f"{SECTION}.{name}.name"]
    return found


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Turn nested tables into dotted keys: ``{"train": {"epochs": 5}}`` into ``{"train.epochs": 5}``."""
    flat: dict[str, Scalar] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and not value and prefix == f"{SECTION}.":
            value = {"share": 0.0}  # a class that sets nothing is one all the same: nodes may say they are of it
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def nest(flat: Mapping[str, Scalar]) -> dict[str, Any]:
    """Turn dotted keys back into nested tables."""
    table: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        into = table
        for part in path:
            into = into.setdefault(part, {})
        into[last] = value
    return table


def check_settings(settings: Settings) -> dict[str, Scalar]:
    """Return settings with the types of their keys.

    Raises:
        InputError: An unknown key (with the nearest known one), or a value of another type.
    """
    known = dict(keys())
    for key in settings:
        if key.startswith(f"{SECTION}."):
            name = key.removeprefix(f"{SECTION}.").rpartition(".")[0] or key.rpartition(".")[2]
            check_name(name)
            known |= class_keys(name)
    return {key: _typed(key, value, known) for key, value in settings.items()}


def _typed(key: str, value: Any, known: Mapping[str, type]) -> Scalar:
    if key not in known:
        near = difflib.get_close_matches(key, known, 1)
        raise InputError(
            f"unknown key {key!r}" + (f": did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}")
        )
    kind = known[key]
    if kind is float and type(value) is int:
        value = float(value)
    require(
        type(value) is kind,
        key,
        value,
        {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "text"),
    )
    return value


def build_of_task(settings: Settings) -> Config:
    """Return a configuration of what says which task it is, with what models and by which method; errors as ``build``.

    Rules between sections are for all settings together: a method may set what a given one asks for. What a method sets
    of models counts here, too.

    Raises:
        InputError: There is no such method, or as ``build``.
    """
    given = {**method(str(settings.get("method", Config.method))).settings, **settings}
    return build({key: value for key, value in given.items() if key in _OF_TASK or key.startswith("model.")})


_OF_TASK = ("task", "data", "method")


def build(settings: Settings) -> Config:
    """Build a configuration from dotted keys; what is not given has its default.

    Raises:
        InputError: Naming the key, the value and the rule.
    """
    tables = nest(check_settings(settings))
    # By name: who is dealt to which class mustn't depend on the order in which they are written.
    classes = tuple(DeviceClass(name, **held) for name, held in sorted(tables.pop(SECTION, {}).items()))
    return _construct(Config, {**tables, SECTION: classes})


def _construct(of: type, table: Mapping[str, Any]) -> Any:
    kinds: dict[str, Any] = {item.name: item.type for item in fields(of)}
    return of(**{k: _construct(kinds[k], v) if isinstance(v, Mapping) else v for k, v in table.items()})


def to_settings(config: Config) -> dict[str, Scalar]:
    """All dotted keys of a configuration and their values."""
    flat: dict[str, Scalar] = {}
    for key, _ in keys():
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        flat[key] = value
    for held in config.classes:
        flat |= {key: getattr(held, key.rpartition(".")[2]) for key in class_keys(held.name)}
    return flat


def read_toml(path: Path) -> dict[str, Scalar]:
    """Read a TOML file as dotted keys.

    Raises:
        InputError: The file is missing or isn't TOML.
    """
    return flatten(read_tables(path))


def read_tables(path: Path) -> dict[str, Any]:
    """Read a TOML file as it is nested.

    Raises:
        InputError: The file is missing or isn't TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file ({error})") from None


def to_toml(config: Config) -> str:
    """Return the configuration as TOML text that ``read_toml`` and ``build`` turn back into it."""
    return tomli_w.dumps(nest(to_settings(config)))


def hash_of(config: Config) -> str:
    """SHA-256 (64 hex digits) of all settings."""
    return hashlib.sha256(to_toml(config).encode()).hexdigest()


def parse_assignment(text: str) -> tuple[str, Scalar]:
    """Split ``key=value`` of the command line; the value is TOML, or text where it isn't.

    >>> parse_assignment("train.epochs=5"), parse_assignment("task=digits")
    (('train.epochs', 5), ('task', 'digits'))
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set takes key=value, got {text!r}")
    try:
        return key.strip(), tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
