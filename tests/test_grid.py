"""Laws of the grid of this process: every client answers once, in order, and none runs when it is over."""

import time
from contextlib import closing

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedkd.base.errors import RunError
from fedkd.protocol.federation import new_server
from server.checkpoint import RunProgress
from server.strategy import FedKD
from sims.local_grid import LocalGrid
from tests.forged import FIRST_NODE, light


def test_grid_answers_each_message_once_and_in_order():
    app = ClientApp()

    @app.query()
    def echo(message: Message, context: Context) -> Message:
        return Message(RecordDict(), reply_to=message)

    grid = LocalGrid(app, {0: 5, 1: 3, 2: 9}, lambda node: Context(1, node, {}, RecordDict(), {}), 2)
    messages = [grid.create_message(RecordDict(), "query", node, "1") for node in grid.get_node_ids()]
    replies = list(grid.send_and_receive(messages))
    assert [r.metadata.src_node_id for r in replies] == [5, 3, 9]
    assert [r.metadata.reply_to_message_id for r in replies] == [m.metadata.message_id for m in messages]
    assert list(grid.pull_messages([m.metadata.message_id for m in messages])) == []


def test_closed_grid_leaves_no_client_running():
    """One of ten clients has answered on two threads: those that wait never run, and none runs once it is closed."""
    app, running, begun = ClientApp(), set(), []

    @app.query()
    def slow(message: Message, context: Context) -> Message:
        begun.append(context.node_id)
        running.add(context.node_id)
        time.sleep(0.1 if context.node_id == 2 else 0.5)
        running.remove(context.node_id)
        return Message(RecordDict(), reply_to=message)

    with closing(
        LocalGrid(app, {i: i for i in range(2, 12)}, lambda n: Context(1, n, {}, RecordDict(), {}), 2)
    ) as grid:
        replies = grid.send_and_receive([grid.create_message(RecordDict(), "query", i, "1") for i in range(2, 12)])
        assert next(replies).metadata.src_node_id == 2
        assert running
    assert not running
    assert 2 <= len(begun) < 10


def test_run_that_ends_early_leaves_no_client_running():
    """The first client finds the disk full while another one works, which may still write into the run's folder."""
    app, running = ClientApp(), set()
    experiment = light()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if context.node_id == FIRST_NODE:
            time.sleep(0.1)
            raise RunError("the disk is full")
        running.add(context.node_id)
        time.sleep(0.5)
        running.remove(context.node_id)
        return Message(RecordDict(), reply_to=message)

    nodes = {i: i + FIRST_NODE for i in range(4)}
    grid = LocalGrid(app, nodes, lambda node: Context(1, node, {}, RecordDict(), {}), 2)
    with pytest.raises(RunError, match="the disk is full"):
        FedKD(experiment, RunProgress(new_server(experiment)), grid, lambda *_: None).run()
    assert not running


def test_client_slower_than_the_deadline_is_left_out_whoever_waits_for_a_thread():
    """Of five clients on one thread, which take 1.8 s together, one alone takes longer than 1.5 s."""
    app = ClientApp()

    @app.query()
    def answer(message: Message, context: Context) -> Message:
        time.sleep(1.7 if context.node_id == 3 else 0.02)
        return Message(RecordDict(), reply_to=message)

    grid = LocalGrid(app, {i: i for i in range(2, 7)}, lambda node: Context(1, node, {}, RecordDict(), {}), 1)
    for _ in range(2):
        messages = [grid.create_message(RecordDict(), "query", node, "1") for node in grid.get_node_ids()]
        replies = grid.send_and_receive(messages, timeout=1.5)
        assert [r.metadata.src_node_id for r in replies] == [2, 4, 5, 6]
        assert list(grid.pull_messages([m.metadata.message_id for m in messages])) == []
