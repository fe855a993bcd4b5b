"""Python of the user's own, named as ``package.module:function``."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from fedkd.base.errors import InputError

# What fedkd installs; people use these names for files of their own.
_OWN = ("clients", "fedkd", "server", "sims")


# In the environment: the folder in which the command was called that started this process.
FOLDER = "FEDKD_MODULES"


class _CurrentFolder:
    """Finds modules in the current folder that nothing else finds.

    As an entry of ``sys.path``, even the last, the folder would come before packages that are installed editable.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, _folders()) if path is None else None


def _folders() -> list[str]:
    """The current folder, and that of who started this process, where it was started in another."""
    return [os.getcwd(), *filter(None, [os.environ.get(FOLDER)])]


def import_module(name: str) -> ModuleType:
    """Import a module by its name: an installed one, or else one in the current folder.

    Raises:
        Exception: Whatever importing it raises.
    """
    if _CurrentFolder not in sys.meta_path:
        sys.meta_path.append(_CurrentFolder)
    return importlib.import_module(name)


def import_function(name: str) -> Callable[..., Any]:
    """Import a function by its name: from an installed module, or else from one in the current folder.

    Raises:
        InputError: The module is hidden by an installed one of the same name, or a module that it imports is.
        Exception: Whatever importing the module raises, or AttributeError where it has no such function.
    """
    module, _, function = name.partition(":")
    try:
        return getattr(import_module(module), function)
    except (AttributeError, ImportError) as error:
        if hidden := hidden_module(error):
            raise InputError(hidden) from None
        raise


def hidden_module(error: Exception) -> str:
    """Say which module of the current folder an error comes from being hidden by an installed one; empty if none.

    Args:
        error: An AttributeError or ImportError that names the module in which something is missing.
    """
    missing_in = error.name if isinstance(error, ImportError) else getattr(error, "obj", None)
    name = getattr(missing_in, "__name__", missing_in)
    name = name.partition(".")[0] if isinstance(name, str) else ""
    found, hidden = sys.modules.get(name), PathFinder.find_spec(name, [os.getcwd()]) if name else None
    if found is None or hidden is None or not (places := _places(hidden)) or places == _places(found.__spec__):
        return ""
    whose = "fedkd's own package" if name in _OWN else f"installed ({', '.join(_places(found.__spec__)) or 'built in'})"
    return f"{places[0]} can't be imported: module {name!r} is {whose}; rename yours"


def _places(spec: ModuleSpec | None) -> list[str]:
    """Folders of a package, or the file of a module."""
    if spec is None:
        return []
    folders = list(spec.submodule_search_locations or ())
    return folders or ([spec.origin] if spec.has_location and spec.origin else [])
