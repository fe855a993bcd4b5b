"""Laws of a federation of real processes: SuperLink, SuperNodes, TLS and keys on the loopback interface.

Each run takes the better part of a minute, so that the tests share one federation and as few runs as will do.
"""

import datetime
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from rich.console import Console

from fedkd.base.errors import RunError, StoppedError
from fedkd.base.tensors import digest
from fedkd.config.settings import to_settings
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import experiment_of
from fedkd.results.run_folder import RunFolder
from server.certificates import authority
from sims.deploy import flower
from sims.deploy.fleet import fleet
from sims.deploy.folder import node_name
from sims.deploy.keys import node_pair, write_secret
from sims.deploy.local import SUPERLINK, LocalFederation
from sims.deploy.processes import Processes, free_ports, last_message, wait_for_port
from sims.run import run
from tests.faults.proxy import CountingProxy
from tests.faults.waiting import wait_for

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]
CLIENTS = 3
SETTINGS = {
    "task": "digits", "clients": CLIENTS, "rounds": 2, "partition.examples": 150, "train.epochs": 1,
    "model.teacher_width": 8, "edge.sparsity": 0.0, "edge.precisions": "none",
}  # fmt: skip


@pytest.fixture(scope="module", params=["tensorflow", "litert"])
def federation(request, tmp_path_factory):
    """Nodes with TensorFlow, and nodes that train by the file that the server sends."""
    settings = {**SETTINGS, "train.engine": request.param}
    held = LocalFederation(tmp_path_factory.mktemp("federation"), experiment_of(settings))
    held.settings = settings
    held.proxy = CountingProxy(held.port)
    held.doors = [held.proxy.port] * CLIENTS
    try:
        held.start()
        yield held
    finally:
        held.processes.stop()
        held.proxy.close()
        assert not held.processes.left()


def submit(federation, name, resume=False, **changes):
    """Start a run; returns its id and its folder."""
    folder = federation.work / name
    config = experiment_of({**federation.settings, **changes}).config
    options = {"out": str(folder), "engine": "deployment", "resume": resume}
    return federation.submit({**to_settings(config), **options}), folder


def history(folder):
    path = folder / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def killed(federation):
    """A run of two rounds whose SuperLink is killed in the second and started again, and its bytes on the wire."""
    before = federation.proxy.total
    run_id, folder = submit(federation, "killed")
    wait_for(lambda: len(history(folder)) == 1)
    first = federation.proxy.total - before
    federation.processes.kill(SUPERLINK)
    federation.start_superlink()
    wait_for_port(federation.port, federation.processes)
    federation.wait(run_id, folder)
    return folder, first


def test_a_run_whose_superlink_is_killed_goes_on_to_the_simulations_bits(federation, killed, tmp_path):
    folder, _ = killed
    run(federation.settings, "local", tmp_path / "run", False, False, Console(quiet=True))
    deployed, simulated = ([row["shared_sha256"] for row in history(path)] for path in (folder, tmp_path / "run"))
    assert deployed == simulated
    assert not any(row["refused"] for row in history(folder))


def test_a_run_whose_server_is_killed_goes_on_from_its_checkpoint_to_the_same_bits(federation, killed, reached):
    run_id, folder = submit(federation, "resumed")
    wait_for(lambda: len(history(folder)) == 1)
    (server,) = [pid for pid in federation.processes.left() if "flwr-serverapp" in command_of(pid)]
    began = time.monotonic()
    os.kill(server, signal.SIGKILL)
    with pytest.raises(RunError, match="the run ended as finished:failed"):
        federation.wait(run_id, folder)
    reached("s until Flower calls a run failed whose server was killed", time.monotonic() - began)
    run_id, folder = submit(federation, "resumed", resume=True)
    federation.wait(run_id, folder)
    assert [row["shared_sha256"] for row in history(folder)] == [row["shared_sha256"] for row in history(killed[0])]


def test_a_run_that_is_stopped_goes_on_at_once_to_the_same_bits(federation, killed):
    """At once: the process that was stopped still holds the run's folder for some seconds."""
    run_id, folder = submit(federation, "stopped")
    wait_for(lambda: len(history(folder)) == 1)
    with federation.proxy.held():  # its second round is the last, and may take less than a command of Flower's
        flower.stop(federation.env, run_id)
    with pytest.raises(StoppedError):
        federation.wait(run_id, folder)
    run_id, folder = submit(federation, "stopped", resume=True)
    late = None
    try:
        federation.wait(run_id, folder)
    except RunError as error:  # on a busy machine the process ends the run in the seconds that Flower leaves it
        late = str(error)
    assert late is None or "this run has finished" in late
    assert [row["shared_sha256"] for row in history(folder)] == [row["shared_sha256"] for row in history(killed[0])]


def test_nodes_are_online_by_name_and_say_their_memory(federation, killed):
    deployed = federation.deployed
    members = fleet(deployed.names, deployed.ids, flower.nodes(federation.env), RunFolder(killed[0]).history)
    assert [(m.name, m.state, m.round) for m in members] == [(f"node-{i}", "online", 2) for i in range(CLIENTS)]
    assert all(10e6 < m.peak_bytes < 100e9 and m.seconds > 0 for m in members)


def command_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_bytes_on_the_wire_are_those_of_the_summary_but_for_what_flower_adds(federation, killed, reached):
    """Two rounds that differ in their payloads alone differ by as many bytes on the wire, to within 10 %.

    What is left then is Flower's own: TLS, its messages around ours, and its nodes' asking for work every 3 s.
    """
    folder, small_wire = killed
    before = federation.proxy.total
    run_id, large = submit(federation, "large", rounds=1, method="fedavg_teacher", **{"model.teacher_width": 32})
    federation.wait(run_id, large)
    wire = federation.proxy.total - before
    small, large = (history(path)[0] for path in (folder, large))
    payloads = [row["up_bytes"] + row["down_bytes"] for row in (small, large)]
    ratio = (wire - small_wire) / (payloads[1] - payloads[0])
    reached("wire bytes and payload bytes of a small and a large round", f"{small_wire}, {wire}; {payloads}")
    reached("wire bytes a payload byte, of the difference", ratio)
    reached("Flower's own bytes, a node in a run of a round", (small_wire - payloads[0]) / CLIENTS)
    assert ratio == pytest.approx(1, abs=0.1)


def test_a_round_in_which_a_node_is_killed_ends_in_the_survivors_average(federation, reached):
    victim, settings = CLIENTS - 1, {"rounds": 1, "guard.deadline": 60.0}
    log = federation.processes.log(node_name(victim))
    start = len(log.read_text())
    run_id, folder = submit(federation, "node", **settings)
    wait_for(lambda: "train message" in log.read_text()[start:])
    began = time.monotonic()
    federation.processes.kill(node_name(victim))
    try:
        federation.wait(run_id, folder)
        reached("s from a node's death to the end of its run", time.monotonic() - began)
    finally:
        federation.start_node(victim)
    (row,) = history(folder)
    assert row["participants"] == [i for i in range(CLIENTS) if i != victim]
    assert row["shared_sha256"] == average_of(row["participants"], {**federation.settings, **settings})


def test_a_node_that_lost_its_folder_gets_what_it_trains_by_again(federation):
    run_id, folder = submit(federation, "lost")
    wait_for(lambda: len(history(folder)) == 1)
    shutil.rmtree(federation.data(0).parent / "client-0")
    shutil.rmtree(federation.data(0).parent / "training", ignore_errors=True)
    federation.wait(run_id, folder)
    first, second = history(folder)
    assert (second["behind"], second["refused"]) == ([0], [])
    assert second["participants"] == first["participants"]


def average_of(survivors, settings):
    """Digest of the shared model after a first round that only some clients answer, by the pure functions."""
    federation = Federation(experiment_of(settings))
    federation.round(survivors)
    return digest(federation.server.shared)


def test_nodes_without_the_right_key_or_certificate_are_refused_and_told_why(federation, tmp_path):
    private, _ = node_pair()
    write_secret(tmp_path / "unknown.key", private)
    (tmp_path / "other.crt").write_bytes(authority(datetime.datetime.now(datetime.UTC)).pem)
    ca, key = federation.deployment.node(0) / "ca.crt", federation.deployment.node(0) / "node.key"
    tls, own = ("--root-certificates", str(ca)), ("--auth-supernode-private-key", str(key))
    cases = {
        "without key": (tls, "must be registered"),
        "unregistered key": ((*tls, own[0], str(tmp_path / "unknown.key")), "Failed to activate SuperNode"),
        "wrong CA": (("--root-certificates", str(tmp_path / "other.crt"), *own), "CERTIFICATE_VERIFY_FAILED"),
        "plaintext": (("--insecure",), "Option `--insecure` was set. Starting insecure channel"),
    }
    ports, processes = free_ports(len(cases)), Processes(tmp_path)
    try:
        for port, (name, (options, _)) in zip(ports, cases.items(), strict=True):
            command = ["flower-supernode", "--superlink", f"127.0.0.1:{federation.port}", "--port", str(port), *options]
            processes.start(name, command, {**federation.env, "FLWR_HOME": str(tmp_path / "home")})
        for name, (_, message) in cases.items():
            said = wait_for(lambda name=name: refusal(processes.log(name)), 180)
            assert message in said, name
            assert "SuperNode ID" not in processes.log(name).read_text()  # which it has once it is let in
    finally:
        processes.stop()


def refusal(log):
    """The last words of a SuperNode that gave up, or all of one that tries in vain: in plain text Flower's does."""
    said = log.read_text()
    if "Exit Code:" in said:
        return last_message(log)
    return said if said.count("Connection attempt failed") > 2 and "insecure" in said else None
