"""Python of the user's own, named as ``package.module:function``."""

import importlib
import sys
from collections.abc import Callable
from typing import Any


def import_function(name: str) -> Callable[..., Any]:
    """Import a function by its name, from a module beside the user too, as ``python -m`` would find it.

    Raises:
        Exception: Whatever importing the module raises, or AttributeError where it has no such function.
    """
    module, _, function = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    return getattr(importlib.import_module(module), function)
