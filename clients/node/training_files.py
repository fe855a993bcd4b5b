"""The files by which a node trains without TensorFlow, kept by their hashes: the server sends each of them once."""

import hashlib
import zlib
from pathlib import Path

from clients.node.node_config import NodeConfig, state_dir
from fedkd.base.contents import hash_file
from fedkd.base.errors import RunError
from fedkd.base.files import replace_file
from fedkd.exchange.blob import PayloadError
from fedkd.protocol.state import Offer

# Of one run: that of its training rounds, and that of its finishing rounds; and those of the run before.
_KEPT = 4


class TrainingFiles:
    """A node's training files.

    Args:
        folder: Where those from the server are kept; made with the first of them.
        given: One that was on the machine before any server; None where there is none.
    """

    def __init__(self, folder: Path, given: Path | None = None) -> None:
        self._folder, self._given = folder, given

    @classmethod
    def of(cls, node: NodeConfig, run: str) -> "TrainingFiles":
        """Those of a node in a run: in its state's folder, and the one that its ``training-file`` names."""
        given = str(node.get("training-file", ""))
        return cls(state_dir(node, run) / "training", Path(given) if given else None)

    def find(self, offer: Offer) -> Path | None:
        """Return the file that an offer asks to train by, kept from the offer or from before; None where it isn't here.

        Raises:
            PayloadError: What the offer holds isn't what it says.
            RunError: It can't be kept: the disk is full, or the folder can't be written.
        """
        if offer.training:
            return self._keep(offer)
        if not offer.training_file:
            return None
        candidates = [self._path(offer.training_file), *filter(None, [self._given])]
        return next((path for path in candidates if path.is_file() and hash_file(path) == offer.training_file), None)

    def newest(self) -> str:
        """SHA-256 of the file that came last, or was given; empty where there is none."""
        given = [self._given] if self._given is not None and self._given.is_file() else []
        return next(map(hash_file, [*self._kept(), *given]), "")

    def _keep(self, offer: Offer) -> Path:
        try:
            content = zlib.decompress(offer.training)
        except zlib.error as error:
            raise PayloadError("training_file", f"the training file is damaged ({error})") from None
        if hashlib.sha256(content).hexdigest() != offer.training_file:
            raise PayloadError("training_file", "the training file has another hash than the server announced")
        path = self._path(offer.training_file)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, content)
            for old in self._kept()[_KEPT:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{path} can't be written ({error.strerror})") from None
        return path

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.tflite"

    def _kept(self) -> list[Path]:
        """Those from the server, the newest first."""
        return sorted(self._folder.glob("*.tflite"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
