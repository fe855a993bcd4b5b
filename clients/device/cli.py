"""The command ``fedkd-device``."""

import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from clients.device.classify import classify
from clients.device.errors import UpdateFailed, WrongInput
from clients.device.hub import Hub, Profile
from clients.device.protocol.manifest import check_channel
from clients.device.state import State
from clients.device.update import Updated, check_root, update
from clients.device.web import Web

_NO_MODEL, _WRONG, _INTERRUPTED = 1, 2, 130
_LONGEST = 366 * 24 * 3600


def main() -> None:
    """Entry point: 0, or 1 where no model runs, or 2 for bad input; an update that fails is no error while one runs."""
    given = _parser().parse_args()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its library's own lines say again what ours do
    signal.signal(signal.SIGTERM, _stop)
    try:
        sys.exit(run(given))
    except WrongInput as error:
        _end(str(error), _WRONG)
    except OSError as error:
        _end(f"--state {given.state}: {error}", _NO_MODEL)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def run(given: argparse.Namespace) -> int:
    """Update and classify, once or forever."""
    root = _read(given.root)
    hub, state = _hub(given), _opened(given.state)  # what is wrong with the hub leaves no folder
    with state.alone():
        trusted = state.trust(check_root(root) if root is not None else None)
        passed: set[str] = set()
        while True:
            code = _pass(given, state, hub, trusted, passed)
            if given.interval is None:
                return code
            sys.stdout.flush()
            time.sleep(given.interval * random.uniform(1, 1.1))  # so that not all devices call at once


def _pass(given: argparse.Namespace, state: State, hub: Hub | Web, root: bytes, passed: set[str]) -> int:
    """Update, classify, report; each is logged in one line and stops none of the others."""
    profile = Profile(tuple(given.channel or ["default"]), given.ram, given.flash)
    new, failure = _updated(given, state, hub, profile, root)
    found: dict[str, Any] = {}
    try:
        found = classify(state, given.input, passed)
    except (UpdateFailed, WrongInput) as error:
        if isinstance(error, WrongInput) and given.interval is None:
            raise
        failure = f"{failure}; {error}" if failure else str(error)
        print(f"error: {error}", file=sys.stderr)
    failure = "; ".join([*([failure] if failure else []), *found.get("failed", [])])
    if isinstance(hub, Hub) and hub.answers:
        _report(hub, state.device(), new, found, failure)
    if "warning" in found:
        print(f"warning: {found['warning']}", file=sys.stderr)
    if found:
        print(json.dumps({"update": "new" if new else failure or "none", **found}))
    return 0 if found else _NO_MODEL


def _updated(
    given: argparse.Namespace, state: State, hub: Hub | Web, profile: Profile, root: bytes
) -> tuple[Updated | None, str]:
    """The new model if there is one, and why an update failed."""
    try:
        channels = profile.channels
        if isinstance(hub, Hub):
            channels = channels[channels.index(hub.check_in(profile)) :]
        return update(state, hub, root, channels, profile.flash_bytes, profile.ram_bytes, given.timeout), ""
    except UpdateFailed as error:
        print(f"no update: {error}", file=sys.stderr)
        return None, str(error)


def _report(hub: Hub, device: str, new: Updated | None, found: dict[str, Any], failure: str) -> None:
    model = found.get("model", {"channel": "", "version": 0})
    fields = {"device": device, "channel": model["channel"], "version": model["version"], "failure": failure}
    latency = found.get("latency_ms", 0.0)
    try:
        hub.report(**fields, latency_ms=latency, agreement=new.agreement if new else -1.0)
    except UpdateFailed as error:
        print(f"no report: {error}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """End with code 2."""
        _end(message, _WRONG)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("fedkd-device", description="Run the newest model that is signed, and that runs.")
    command = parser.add_subparsers(required=True, metavar="run").add_parser("run", help="update, classify, report")
    add = command.add_argument
    add("--hub", required=True, help="HOST:PORT of `fedkd hub serve`, or the URL of a folder `repository` on the web")
    add("--state", required=True, type=Path, metavar="DIR", help="the device's folder")
    add(
        "--root", type=Path, metavar="FILE", help="root metadata to trust, needed once: metadata/1.root.json of the hub"
    )
    add("--ca", type=Path, metavar="FILE", help="certificates to believe; the system's if not given")
    add("--insecure", action="store_true", help="no TLS to HOST:PORT; models are signed all the same")
    add(
        "--channel", action="append", type=_channel, help="to follow; the first that fits of several (default: default)"
    )
    add("--input", type=Path, metavar="FILE.npy", help="examples to classify; the golden ones if not given")
    add("--ram", type=_bytes, default=0, metavar="BYTES", help="a model's tensors may take (default: any)")
    add("--flash", type=_bytes, default=0, metavar="BYTES", help="a model's file may take (default: 256 MB)")
    add("--timeout", type=_timeout, default=600.0, metavar="S", help="seconds that an update may fetch (default: 600)")
    often = command.add_mutually_exclusive_group()
    often.add_argument("--once", action="store_true", help="update and classify once (default)")
    often.add_argument("--interval", type=_seconds, metavar="S", help="again every S seconds, at least 1")
    return parser


def _hub(given: argparse.Namespace) -> Hub | Web:
    if b"BEGIN CERTIFICATE" not in (_read(given.ca) or b"BEGIN CERTIFICATE"):
        raise WrongInput(f"--ca {given.ca}: must hold certificates, PEM")
    if given.hub.startswith(("http://", "https://")):
        return Web(given.hub, given.ca)
    host, colon, port = given.hub.rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise WrongInput(f"--hub: must be HOST:PORT or a URL, got {given.hub!r}")
    return Hub(given.hub, given.ca, given.insecure)


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise WrongInput(f"{path}: {error.strerror}") from None


def _opened(folder: Path) -> State:
    try:
        return State(folder)
    except OSError as error:
        raise WrongInput(f"--state {folder}: {error.strerror}") from None


def _channel(text: str) -> str:
    try:
        return check_channel(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _bytes(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 1 << 63):
        raise argparse.ArgumentTypeError(f"must be a whole number of bytes, 0 to 2^63 - 1, got {text[:40]!r}")
    return int(text)


def _seconds(text: str) -> float:
    seconds = _number(text)
    if not 1 <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"must be seconds, at least 1, at most {_LONGEST:,}, got {text[:40]!r}")
    return seconds


def _timeout(text: str) -> float:
    seconds = _number(text)
    if not 0 < seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"must be seconds, above 0 and at most {_LONGEST:,}, got {text[:40]!r}")
    return seconds


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _stop(*_: object) -> NoReturn:
    """End as a service is told to: whatever is half done, the next start finds a model that runs."""
    sys.exit(0)


def _end(text: str, code: int) -> NoReturn:
    print(f"error: {text}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
