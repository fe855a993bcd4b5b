"""Laws of the links that the kernel makes; only root may have them."""

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from unittest.mock import MagicMock

import pytest

from fedkd.base.errors import RunError
from fedkd.protocol.resolve import experiment_of
from sims.bench import link

needs_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="takes root and iproute2")


def left():
    """Namespaces, devices and addresses of a bench."""
    said = [subprocess.run(["ip", *what], capture_output=True, text=True).stdout for what in (["netns"], ["address"])]
    return [line for line in "".join(said).splitlines() if "fedkd" in line or "10.213." in line]


@pytest.fixture
def kernel():
    """Skips where the kernel has no namespaces."""
    if subprocess.run(["ip", "netns", "add", "fedkd-test"], capture_output=True).returncode:
        pytest.skip("no network namespaces here")
    subprocess.run(["ip", "netns", "delete", "fedkd-test"], check=True)


@pytest.fixture
def unslowed(monkeypatch, kernel):
    """Links without netem, which not every kernel has."""
    run = link._run
    monkeypatch.setattr(link, "_run", lambda *command: "" if "tc" in command else run(*command))


@needs_root
def test_nodes_behind_links_reach_the_servers_one_address(unslowed):
    listen = "import socket, sys; s = socket.create_server((sys.argv[1], 0)); print(s.getsockname()[1], flush=True);"
    ask = "import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).getsockname()[0])"
    with link.node_link(200, 1, 1) as node, link.server_address() as server:
        command = [sys.executable, "-c", f"{listen} s.accept()", server]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            inside = ["ip", "netns", "exec", node.namespace, sys.executable, "-c", ask, server]
            done = subprocess.run([*inside, process.stdout.readline()], capture_output=True, text=True, timeout=20)
            process.kill()
        assert done.stdout == "10.213.200.2\n", done.stderr
        assert node.carried > 0
    assert not left()


@needs_root
def test_a_link_that_the_kernel_refuses_half_way_leaves_nothing(monkeypatch, kernel):
    run = link._run

    def without_netem(*command):
        return run("ip", "netns", "no-such-word") if "tc" in command else run(*command)

    monkeypatch.setattr(link, "_run", without_netem)
    with pytest.raises(RunError, match="a slow link takes network namespaces"), link.node_link(201, 1, 1):
        pass
    assert not left()


@needs_root
def test_a_bench_listens_on_its_own_address_alone_or_on_loopback_alone(unslowed, monkeypatch, tmp_path):
    experiment = experiment_of({"task": "digits", "clients": 2})
    with ExitStack() as stack:
        federation, links, kind = link._federation(tmp_path / "kernel", experiment, 1, 1, stack)
        assert (kind, len(links), federation._link["FEDKD_BIND"]) == ("kernel", 2, "10.213.255.1")
        connection = (federation.deployment.admin / "config.toml").read_text()
        assert f'address = "10.213.255.1:{federation.port}"' in connection
    assert not left()
    refuse = MagicMock(side_effect=RunError("no netem here"))
    monkeypatch.setattr(link, "_connect", refuse)
    with ExitStack() as stack:
        federation, links, kind = link._federation(tmp_path / "user", experiment, 1, 1, stack)
        assert (kind, len(links), federation._link["FEDKD_BIND"]) == ("user space", 2, "127.0.0.1")
        assert not left()


@needs_root
def test_what_a_killed_bench_has_left_is_replaced_unless_its_processes_run(unslowed):
    link._connect(link.Link("fedkd-link-202", "fedkd202a"), 202)
    with link.node_link(202, 1, 1) as node:
        with subprocess.Popen(["ip", "netns", "exec", node.namespace, sys.executable, "-c", "input()"], stdin=-1) as p:
            while not link._run("ip", "netns", "pids", node.namespace):
                assert p.poll() is None
            with pytest.raises(RunError, match=rf"is in use by processes {p.pid}; end them"), link.node_link(202, 1, 1):
                pass
            p.kill()
        assert left()
    assert not left()
