"""A training file, opened: what it says of itself, and what runs its signatures."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from fedkd.base.errors import InputError
from fedkd.base.stderr import suppress_stderr


class Opened:
    """A file that ``fedkd.litert.training_file`` makes.

    Threads have an interpreter each, which runs on one thread: the bits are the same whatever their number.

    Args:
        file: Its bytes, or its path: then the system reads of it what is used.

    Attributes:
        record: What the trainer must know, from JSON.
        initial: Arrays of the state of a client that has never trained, by name.

    Raises:
        InputError: There is no such file, or it is none.
    """

    def __init__(self, file: bytes | Path) -> None:
        self._given = {"model_path": str(file)} if isinstance(file, Path) else {"model_content": file}
        self._mine = threading.local()
        try:
            found: dict[str, np.ndarray] = self.runner("initial")()
            self.record: Mapping[str, Any] = json.loads(found.pop("record").tobytes())
        except (ValueError, KeyError, RuntimeError) as error:
            name = file if isinstance(file, Path) else "it"
            raise InputError(f"{name}: no training file of fedkd's ({' '.join(str(error).split())[:120]})") from None
        self.initial: Mapping[str, np.ndarray] = found

    def runner(self, signature: str) -> Any:
        """Return what runs a signature, one a thread; opened when it is first asked for."""
        held = self._mine.__dict__
        if signature not in held:
            with suppress_stderr():
                if "interpreter" not in held:
                    held["interpreter"] = Interpreter(**self._given, num_threads=1)
                held[signature] = held["interpreter"].get_signature_runner(signature)
        return held[signature]
