"""The protocol of FedKD on one page: what a client and the server do in a round, as pure functions.

Both sides hold the same shared model, bit for bit. Round r starts by making the *base* of the round on both: the
shared model after the last round, pruned to the round's sparsity (0 in ordinary rounds, rising in finishing rounds;
pruning is deterministic, so no mask crosses the network). A round that begins a stage may put another model in its
place, see ``fedkd.protocol.stages``. A client sends how its training changed the base; the server averages,
compresses the average by the same rule and adds what it *decodes*, as every client will.

    server                                             client
    base = prune(shared, sparsity)
    offer(round, digest(base), steps or dense)  ->     base = follow(steps)  or  "send me the dense model"
                                                <-     encode(train(base) - base)
    shared = base + decode(encode(mean))
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fedkd.base.seeding import Purpose, generator
from fedkd.base.tensors import Spec, State, Weights, add, frozen
from fedkd.compress.prune import masks, prune
from fedkd.data.dataset import Dataset
from fedkd.exchange.basis import Bases, shared_bases
from fedkd.exchange.blob import Header, PayloadError
from fedkd.exchange.codec import Payload
from fedkd.exchange.transforms import Context
from fedkd.privacy.noise import Noise
from fedkd.protocol.aggregation import aggregate
from fedkd.protocol.finishing import channels_to_remove
from fedkd.protocol.local import Local
from fedkd.protocol.rules import Rules
from fedkd.protocol.scaffold import over_all_clients
from fedkd.protocol.stages import FINISHING, begins, rounds_of, stage_of
from fedkd.protocol.state import ClientState, Offer, ServerState, Step, Upload
from fedkd.protocol.training import trained

if TYPE_CHECKING:
    from fedkd.protocol.experiment import Experiment


def new_client(local: Local) -> ClientState:
    """State before the first round: its shared model follows from the seed, so it need not be sent."""
    state, experiment = local.initial_state(), local.experiment
    models = (state[role] if role in state else experiment.untrained(role) for role in experiment.shared_roles)
    shared = [tensor for model in models for tensor in experiment.shared_of(model)]
    return ClientState(0, experiment.with_control(shared), experiment.without_shared(state))


def new_server(experiment: "Experiment", run: str = "") -> ServerState:
    """State before the first round; ``run`` tells the run from all others."""
    shared = experiment.initial_shared()
    transforms = experiment.broadcast_chain.initial(experiment.spec)
    return ServerState(0, shared, shared, experiment.digest(shared), transforms=transforms, run=run)


def header_of(round_: int, base: str, experiment: Rules) -> Header:
    """Header of all blobs of a round; the first digits of the base's hash tell an honest mistake from the right one."""
    return Header(round_, base[:16], experiment.config.method)


def known_bases(experiment: Rules, round_: int, previous: bytes | None) -> Bases | None:
    """Directions that need not be sent in a round, for a method that has such.

    Args:
        experiment: The same on both sides.
        round_: From 1.
        previous: The last broadcast, empty before the first, None for a client that didn't get it.
    """
    config, spec = experiment.config, experiment.spec
    rank = experiment.coding("up", experiment.energy(round_)).compressor.directions
    if not rank or previous is None:
        return None
    last = previous if round_ > rounds_of(experiment).start else b""  # before, it was an update of another model

    def make() -> Bases:
        update = experiment.cache.broadcast(last, spec) if last else None
        return shared_bases(update, spec, round_, rank, generator(config.seed, Purpose.DIRECTIONS, round_))

    return experiment.cache.directions(spec, rank, round_, last, make)


def follow(state: ClientState, offer: Offer, experiment: Rules) -> Weights | None:
    """Bring the shared model up to date with an offer.

    Args:
        state: Of a client.
        offer: The server's.
        experiment: Of the first round.

    Returns:
        The base of the round, or None where the client can't get there: its state is too old, new or lost.

    Raises:
        PayloadError: The dense model, or an update that leads to the right model, is damaged.
    """
    if offer.dense:
        if (now := experiment.at(offer.round, offer.removed_channels)) is None:
            return None
        dense = experiment.cache.broadcast(offer.dense, now.spec)
        if now.digest(dense) != offer.base:
            raise PayloadError("base", "the dense model has another hash than the server announced")
        return dense
    ahead = [step for step in offer.steps if step.round > state.round]
    if [step.round for step in ahead] != list(range(state.round + 1, offer.round + 1)):
        return None
    base: Weights | None = state.base
    for step in ahead:
        base = None if base is None else advance(base, step, offer.removed_channels, experiment)
    now = experiment.at(offer.round, offer.removed_channels)
    return base if base is not None and now is not None and now.digest(base) == offer.base else None


def advance(base: Weights, step: Step, removed_channels: tuple[int, ...], experiment: Rules) -> Weights | None:
    """Return the base one round further on, None where it can't be made here; ``experiment`` is the first round's."""
    before, now = (experiment.at(round_, removed_channels) for round_ in (step.round - 1, step.round))
    if before is None or now is None:
        return None
    part = before.sub_model(step.round - 1)
    shared = add(base, experiment.cache.broadcast(step.blob, before.spec, part)) if step.blob else base
    begun: Weights | None = shared
    if begins(experiment.config, step.round):
        begun = experiment.begun(now.stage, removed_channels, shared)
    return None if begun is None else _base_of(begun, step.sparsity, now.spec)


def _base_of(shared: Weights, sparsity: float, spec: Spec) -> Weights:
    """The shared model with the zeros of a round; the very same arrays, read-only, where there are to be none."""
    return prune(shared, sparsity, kernels(spec)) if sparsity else frozen(shared)


def kernels(spec: Spec) -> tuple[bool, ...]:
    """Which tensors are pruned: kernels and tables, never biases or statistics, whatever their rank."""
    return tuple(item.kernel and item.leading > 0 for item in spec)


def kept_of(base: Weights, sparsity: float, spec: Spec) -> Weights | None:
    """Which numbers of a base aren't pruned, 1 or 0; None where the round has no zeros to keep."""
    return masks(base, kernels(spec)) if sparsity else None


def client_round(
    state: ClientState, base: Weights, offer: Offer, data: Dataset, local: Local, rng: np.random.Generator
) -> tuple[ClientState, Upload]:
    """Train both models on local data and encode the change of the shared one.

    Args:
        state: The client's state before the round; not changed.
        base: From ``follow``.
        offer: The server's.
        data: The client's training examples.
        local: Of the round: the client's trainer, and the experiment with the shared model's spec and the switches.
        rng: Of this client in this round.

    Returns:
        The state after the round, which holds the base and not the trained shared model, and the upload.

    Raises:
        PayloadError: Training ended in NaN or Inf, in either model: the client's state stays what it was.

    Reference:
        Wu et al. 2022, algorithm 1, client side.
    """
    experiment = local.experiment
    spec, chain = experiment.spec, experiment.chain
    before = _held(state, offer, local)
    transforms = {group: arrays for group, arrays in before.items() if group in chain.groups}
    held = {group: arrays for group, arrays in before.items() if group not in chain.groups}
    bases = known_bases(experiment, offer.round, offer.steps[-1].blob if offer.steps else None)
    context = Context(spec, kept_of(base, offer.sparsity, spec), rng, experiment.sub_model(offer.round), bases)
    after, update, losses = trained(held, base, offer, data, local, context)
    header, coding = header_of(offer.round, offer.base, experiment), experiment.coding("up", offer.energy)
    sent, kept = chain.send(update, transforms, context, header, coding)
    return ClientState(offer.round, base, {**after, **kept}), Upload(sent.blob, len(data), losses)


def _held(state: ClientState, offer: Offer, local: Local) -> State:
    """What a client holds; as it begins a stage its own model goes on, and all else begins anew."""
    experiment = local.experiment
    if state.round in rounds_of(experiment):
        return state.local
    own = [role for role in local.trainer.roles if role not in experiment.shared_roles]
    kept = {group: arrays for group, arrays in state.local.items() if group.partition(".")[0] in own}
    return new_client(local).local | kept


def begin_round(state: ServerState, experiment: "Experiment") -> ServerState:
    """Make the base of the next round and remember the step that leads to it; ``experiment`` is the first round's."""
    step = Step(state.round + 1, state.update, experiment.sparsity(state.round + 1))
    if begins(experiment.config, step.round):
        finishes = stage_of(experiment.config, step.round) == FINISHING
        removed = channels_to_remove(experiment, state.shared) if finishes else ()
        now = experiment.at(step.round, removed)
        shared = experiment.begun(now.stage, removed, state.shared)
        fresh = now.broadcast_chain.initial(now.spec)
        state = replace(state, shared=shared, transforms=fresh, removed_channels=removed)
    now = experiment.at(step.round, state.removed_channels)
    base = _base_of(state.shared, step.sparsity, now.spec)
    return replace(state, round=step.round, base=base, digest=now.digest(base), steps=(*state.steps, step))


def forget_steps(state: ServerState, limit: int) -> ServerState:
    """Drop the oldest steps while all together exceed ``limit`` bytes, those of the dense model: nobody needs them.

    The last one stays, with which most clients go on.
    """
    steps = state.steps
    while len(steps) > 1 and sum(len(step.blob) for step in steps) > limit:
        steps = steps[1:]
    return replace(state, steps=steps)


def make_offer(state: ServerState, known_round: int | None, energy: float, dense: bytes) -> Offer:
    """Offer a client what is smaller: the steps since the round whose base it holds, or the model.

    Args:
        state: After ``begin_round``.
        known_round: The round whose base the client has, 0 for the initial model, None if it has nothing of use.
        energy: Threshold T of the round.
        dense: The base, encoded dense.
    """
    steps = tuple(step for step in state.steps if known_round is not None and step.round > known_round)
    sparsity, removed = state.steps[-1].sparsity, state.removed_channels
    offer = Offer(state.round, state.digest, energy, sparsity, steps, b"", removed, state.run)
    complete = known_round is not None and len(steps) == state.round - known_round
    return offer if complete and offer.size <= len(dense) else replace(offer, steps=(), dense=dense)


def server_round(
    state: ServerState,
    updates: Sequence[Weights],
    weights: Sequence[float],
    energy: float,
    experiment: "Experiment",
    noise: Noise | None = None,
) -> tuple[ServerState, Payload]:
    """Average the clients' decoded updates, compress the average and apply what it decodes to.

    Args:
        state: After ``begin_round``.
        updates: Decoded, in the order of partition ids, at least one.
        weights: Of each client: its number of examples, or 1.
        energy: Threshold T of the round.
        experiment: Of the round: the spec of the shared model, and the switches.
        noise: For the mean, where the run promises its clients privacy, see ``fedkd.protocol.promise``.

    Returns:
        The state after the round, and the decoded broadcast (with its ranks).

    Reference:
        Wu et al. 2022, algorithm 1, server side.
    """
    spec, rng = experiment.spec, generator(experiment.config.seed, Purpose.ROUNDING, state.round)
    kept, part = kept_of(state.base, state.steps[-1].sparsity, spec), experiment.sub_model(state.round)
    context = Context(spec, kept, rng, part)
    header, coding = header_of(state.round, state.digest, experiment), experiment.coding("down", energy)
    mean = over_all_clients(aggregate(updates, weights, experiment.config.guard), len(updates), experiment)
    if noise is not None:
        mean = noise.on(mean, len(updates), spec, known_bases(experiment, state.round, state.steps[-1].blob))
        mean = mean if kept is None else [array * mask for array, mask in zip(mean, kept, strict=True)]
    sent, transforms = experiment.broadcast_chain.send(mean, state.transforms, context, header, coding)
    shared = add(state.base, sent.payload.tensors)
    return replace(state, shared=shared, update=sent.blob, transforms=transforms), sent.payload


def failed_round(state: ServerState) -> ServerState:
    """The state after a round without enough answers: its base is the shared model, and nothing is broadcast."""
    return replace(state, shared=state.base, update=b"")
