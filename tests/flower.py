"""Runs this repository as a Flower app, as `flwr run .` does, against a SuperLink of the test's own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
LIMIT = 300.0


def run_app(settings, out, folder, supernodes):
    """Run the app to its end and check that Flower calls it completed."""
    home = folder / "flwr-home"
    home.mkdir()
    options = " ".join(f"{k}={json.dumps(v)}" for k, v in {**settings, "out": str(out)}.items())
    federation = f"num-supernodes={supernodes} client-resources-num-cpus=1 init-args-log-to-driver=false"
    with superlink(home) as env:
        started = flwr(env, "run", ".", "--run-config", options, "--federation-config", federation)
        assert started["success"], started
        run_id, end = str(started["run-id"]), time.monotonic() + LIMIT
        while not (status := flwr(env, "ls", "--run-id", run_id)["runs"][0]["status"]).startswith("finished"):
            assert time.monotonic() < end, f"still {status} after {LIMIT} s"
            time.sleep(1)
        assert status == "finished:completed", (home / "superlink.log").read_text()[-3000:]


def flwr(env, *arguments):
    done = subprocess.run(
        [BIN / "flwr", *arguments, "--format", "json"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
    )
    return json.loads(done.stdout)


@contextlib.contextmanager
def superlink(home):
    """A SuperLink with Flower's simulation engine on a free port; nothing of it is left running."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f'[superlink]\ndefault = "test"\n\n[superlink.test]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    (home / "config.toml").write_text(address)
    env = {
        **os.environ,
        "FLWR_HOME": str(home),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [BIN / "flower-superlink", "--insecure", "--simulation", "--isolation", "subprocess"]
    with (home / "superlink.log").open("w") as log:
        link = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for(port, link)
        yield env
    finally:
        _stop(link)


def _wait_for(port, link):
    end = time.monotonic() + 60
    while link.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
            return
        time.sleep(0.2)
    raise RuntimeError("the SuperLink did not start")


def _stop(link):
    """End the SuperLink and its executor, which leads a session of its own."""
    sessions = {link.pid} | {pid for pid, (parent, _) in _processes().items() if parent == link.pid}
    link.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        link.wait(10)
    end = time.monotonic() + 8
    while (left := [p for p, (_, session) in _processes().items() if session in sessions]) and time.monotonic() < end:
        time.sleep(0.2)
    for pid in left:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _processes():
    """Parent and session of each living process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if fields[0] not in "ZX":
                found[int(folder.name)] = (int(fields[1]), int(fields[3]))
    return found
