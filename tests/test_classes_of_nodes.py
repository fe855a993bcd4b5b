"""Laws of nodes that say of which class of devices they are, and are asked for it."""

import pytest
from flwr.app import Context, RecordDict

import clients.node.app
from fedkd.config.settings import to_settings
from fedkd.protocol.federation import new_server
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import forget, hold
from fedkd.tasks.own import write_own
from server.checkpoint import Checkpoint, RunProgress
from server.kinds import Kinds
from server.strategy import FedKD
from sims.local_grid import LocalGrid
from tests.test_device_classes import experiment_of, same


class Nodes:
    """Machines of their own, which have to be asked who they are."""

    def __init__(self, grid):
        self._grid = grid

    def get_node_ids(self):
        return self._grid.get_node_ids()

    def send_and_receive(self, messages, *, timeout=None):
        return self._grid.send_and_receive(messages, timeout=timeout)


@pytest.fixture
def deployed(tmp_path):
    """Serve an experiment to nodes with configurations; the rounds, and what the last ended with."""

    def serve(experiment, *nodes):
        options = {**to_settings(experiment.config), "experiment": hold(experiment)}

        def context(node):
            given = {"partition-id": node, "state-dir": str(tmp_path / "state"), **nodes[node]}
            return Context(1, node, given, RecordDict(), options)

        rounds, ends = [], []
        grid = Nodes(LocalGrid(clients.node.app.app, {i: i for i in range(len(nodes))}, context, 1))
        strategy = FedKD(
            experiment,
            RunProgress(new_server(experiment)),
            grid,
            lambda *found: (rounds.append(found[0]), ends.append(found[1])),
        )
        strategy.run()
        return rounds, ends[-1]

    yield serve
    forget()


@pytest.mark.slow
def test_a_node_is_of_the_class_that_it_says(deployed, tmp_path):
    settings = {"clients": 2, "classes.zero.teacher": "none", "train.evaluate_every": 1}
    experiment = experiment_of(**settings)
    rounds, last = deployed(experiment, {}, {"class": "zero"})
    assert last.classes == {1: "zero"}
    assert rounds[0].clients["loss_teacher"][1] is None
    assert [rounds[-1].by_class[name].clients for name in ("", "zero")] == [1, 1]
    assert sorted(rounds[-1].classes) == ["", "zero"]
    assert rounds[-1].by_class["zero"].teacher_mean is None
    assert rounds[-1].by_class[""].teacher_mean == rounds[-1].teacher_mean is not None
    # As if it had been dealt to the class.
    dealt = Federation(experiment_of(**settings, **{"classes.zero.clients": "1"}))
    for _ in range(2):
        dealt.round(range(2))
    assert same(dealt.server.shared, last.state.shared)
    # What it said outlasts the server.
    Checkpoint(tmp_path / "states", "print").save(last)
    again = Checkpoint(tmp_path / "states", "print").load()
    assert Kinds(experiment, again.classes).of(1) == "zero"


def test_a_node_of_an_unknown_class_is_refused_in_one_line(deployed):
    experiment = experiment_of(**{"clients": 2, "classes.zero.teacher": "none", "guard.patience": 1.0})
    rounds, last = deployed(experiment, {}, {"class": "one"})
    assert last.classes == {}
    assert rounds[0].participants == [0]
    assert "says it is of class 'one'; known: zero" in [entry["why"] for entry in rounds[0].refused]


@pytest.mark.slow
def test_a_node_that_trains_by_a_file_gets_that_of_its_class(deployed, tmp_path):
    experiment = experiment_of(**{"clients": 2, "rounds": 1, "classes.zero.teacher": "none"})
    write_own(tmp_path / "own.npz", experiment.task.train.take(experiment.rows[1]))
    lite = {"class": "zero", "engine": "litert", "data": str(tmp_path / "own.npz")}
    rounds, _ = deployed(experiment, {}, lite)
    assert rounds[0].participants == [0, 1]
    assert rounds[0].clients["loss_teacher"][1] is None
