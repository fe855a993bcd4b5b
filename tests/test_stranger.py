"""One client of ten that means harm, under default settings: the result is that of the nine honest ones."""

from dataclasses import replace

import numpy as np
import pytest

import clients.node.app
import clients.node.training
import fedkd
from clients.node.node_config import partition_of
from fedkd.exchange.codec import decode, encode
from fedkd.protocol.federation import client_round, header_of

LIAR = 3
SETTINGS = {"clients": 10, "edge.precisions": "none", "edge.sparsity": 0.0}


def scaled(factor):
    """A client that sends its update times a factor, in float32."""

    def play(state, base, offer, data, local, rng):
        after, upload = client_round(state, base, offer, data, local, rng)
        update = [np.float32(factor) * array for array in decode(upload.blob, local.experiment.spec).tensors]
        blob = encode(update, local.experiment.spec, header_of(offer.round, offer.base, local.experiment))
        return after, replace(upload, blob=blob)

    return play


def harmed(monkeypatch, what):
    """Have the liar do something else than the others."""
    honest = clients.node.training.take_part

    def take_part(offer, context, *known):
        if partition_of(context.node_config) != LIAR:
            return honest(offer, context, *known)
        return what(honest, offer, context, *known)

    monkeypatch.setattr(clients.node.training, "take_part", take_part)


def sending(factor):
    def what(honest, offer, context, *known):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clients.node.training, "client_round", scaled(factor))
            return honest(offer, context, *known)

    return what


def claiming(honest, offer, context, *known):
    answer = honest(offer, context, *known)
    return replace(answer, metrics={**answer.metrics, "teacher.accuracy": 50.0})


HARM = {"an update of 1e28": sending(1e28), "reversed updates": sending(-1.0), "an accuracy of 50": claiming}


def silent(honest, offer, context, *known):
    raise ValueError("is away")


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """What nine honest clients reach while the tenth is away."""
    with pytest.MonkeyPatch.context() as patch:
        harmed(patch, silent)
        out = tmp_path_factory.mktemp("honest") / "run"
        return final(fedkd.run("digits", rounds=20, settings=SETTINGS, out=out, progress=False))


def final(run):
    """Mean quality over the last five rounds."""
    return float(np.mean([row.shared["accuracy"] for row in run.history[-5:]]))


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_the_honest_result_is_kept_to_half_a_point(harm, honest, monkeypatch, tmp_path):
    harmed(monkeypatch, harm)
    settings = SETTINGS | {"threads": 1}  # what is patched for the liar is patched for all of the process
    run = fedkd.run("digits", rounds=20, settings=settings, out=tmp_path / "run", progress=False)
    assert final(run) >= honest - 0.005
    assert all(row.closed for row in run.history)
    assert {entry["client"] for row in run.history for entry in row.refused} <= {LIAR}
