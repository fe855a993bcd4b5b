"""The commands ``fedkd publish`` and ``fedkd hub``."""

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from fedkd.base.errors import RunError
from sims.exit_codes import errors_for_people
from sims.options import TrustOption
from sims.terminal import Terminal

_GOLDEN = (
    "Examples that the manifest shows to everybody and that devices try the model with: array x of a file, or drawn"
    " ones. (default: eight rows of the task's test set)"
)
_OTHERS = "--golden FILE.npz or --golden synthetic publishes others"

hub = typer.Typer(no_args_is_help=True, help="Offer published models to devices.")

_HubFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the hub.")]


def publish(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of `fedkd edge`.")],
    hub: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the hub; is made where there is none.")],
    file: Annotated[
        str, typer.Option(help="Name of a .tflite there. (default: student_int8.tflite, or the one chosen)")
    ] = "",
    channel: Annotated[str, typer.Option(help="What devices follow.")] = "default",
    replace_task: Annotated[
        bool, typer.Option("--replace-task", help="Let task, labels or input differ from the channel's newest model.")
    ] = False,
    version: Annotated[int | None, typer.Option(help="Of the channel, above its newest. (default: the next)")] = None,
    golden: Annotated[str, typer.Option(metavar="FILE.npz|synthetic", help=_GOLDEN)] = "",
    trust: TrustOption = False,
) -> None:
    """Sign a run's model for devices, as the newest of a channel."""
    with errors_for_people():
        from server.hub.publish import publish as published

        manifest, repository, new = published(run, hub, file, channel, replace_task, version, golden, trust)
        console, size = Terminal(), manifest.file["bytes"]
        what = f"{channel} version {manifest.version}: {manifest.file['name']}, {size:,} bytes"
        right = "" if manifest.accuracy is None else f", {manifest.accuracy:.1%} of the test set right"
        console.print(f"published as {what}{right}", highlight=False, soft_wrap=True)
        if not golden:
            count = len(manifest.golden.x)
            print(f"note: its manifest shows {count} rows of the test set, as they are, to whoever asks; {_OTHERS}")
        if new:
            console.print(f"devices trust: {repository.first_root}", highlight=False, soft_wrap=True)
            console.print(f"keys, to be kept: {repository.keys}", highlight=False, soft_wrap=True)


@hub.command()
def init(
    folder: _HubFolder,
    host: Annotated[list[str], typer.Option(help="Name or address that devices call; may be repeated.")],
) -> None:
    """Make a hub: its keys, and a certificate for the names that devices call; again, to renew the certificate."""
    with errors_for_people():
        from server.hub.certificate import make_certificate
        from server.hub.repository import Repository

        repository = Repository(folder)
        repository.check_place()
        authority, cert = make_certificate(folder, host)
        new = repository.create()
        print(f"certificate of {', '.join(host)}: {cert}")
        print(f"devices take: --ca {authority} --root {repository.first_root}")
        if new:
            print(f"keys, to be kept: {repository.keys}")


@hub.command()
def serve(
    folder: _HubFolder,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8443,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    name: Annotated[str, typer.Option(help="What devices call. (default: --host, unless that is every address)")] = "",
    cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate, PEM. (default: that of `fedkd hub init`)")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key, PEM.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Without TLS.")] = False,
) -> None:
    """Serve a hub over gRPC until it is stopped."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its library's own lines say again what ours do
    with errors_for_people():
        from server.hub.certificate import own_files, read_certificate
        from server.hub.repository import Repository
        from server.hub.service import serving

        logging.basicConfig(format="%(asctime)s %(message)s")
        if cert is None and key is None:
            cert, key = own_files(folder)
        certificate = None if insecure else read_certificate(cert, key, name or host)
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        with serving(Repository(folder), f"{host}:{port}", certificate) as (_, bound):
            console = Terminal()
            console.print(f"serving {folder} on {host}:{bound}", highlight=False, soft_wrap=True)
            while not stop.wait(3600):
                pass


@hub.command()
def status(
    folder: _HubFolder,
    limit: Annotated[int, typer.Option(min=0, help="Devices to list, those that failed first; 0 for all.")] = 20,
) -> None:
    """Show who runs which version, by what devices have reported."""
    with errors_for_people():
        from sims.hub_status import show_status

        show_status(folder, limit, Terminal())


@hub.command()
def refresh(folder: _HubFolder) -> None:
    """Sign anew what expires: the timestamp, and whatever is past half of its life."""
    with errors_for_people():
        from server.hub.repository import Repository

        repository = Repository(folder)
        print(f"signed: {', '.join(repository.refresh())}")
        overdue = repository.overdue()
        for role, end in overdue.items():
            print(f"not signed: {role}, its key isn't here; devices believe it until {end:%Y-%m-%d}", file=sys.stderr)
        if over := [role for role, end in overdue.items() if end <= repository.store.now]:
            raise RunError(f"{folder}: devices get nothing: {', '.join(over)} expired; refresh where its key is")


@hub.command()
def rotate(
    folder: _HubFolder,
    role: Annotated[str, typer.Argument(help="root, targets, snapshot or timestamp.")],
) -> None:
    """Give a role a new key, for the one it has was lost or stolen."""
    with errors_for_people():
        from server.hub.repository import Repository

        print(f"new key for {role}; signed: {', '.join(Repository(folder).rotate(role))}")
