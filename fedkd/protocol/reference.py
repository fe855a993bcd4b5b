"""A federation in this process without Flower: the protocol as it is, for tests, emulated devices and fine-tuning."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from fedkd.base.errors import RunError
from fedkd.base.seeding import Purpose, generator
from fedkd.base.tensors import Weights
from fedkd.exchange.codec import Payload, encode
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.federation import (
    begin_round,
    client_round,
    follow,
    header_of,
    known_bases,
    make_offer,
    new_client,
    new_server,
    server_round,
)
from fedkd.protocol.state import ClientState, Offer, Upload


class Taken(NamedTuple):
    """A client's part in a round: the offer it followed, its state afterwards, and its answer."""

    offer: Offer
    state: ClientState
    upload: Upload


class _Clients(dict[int, ClientState]):
    """The states of clients by their numbers; one that was never asked for is that before the first round."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        self._experiment = experiment

    def __missing__(self, client: int) -> ClientState:
        self[client] = new_client(self._experiment.local(client))
        return self[client]


class Federation:
    """A server and clients that exchange nothing but offers and uploads; each client begins when it is first asked.

    Args:
        experiment: Of the first round.
        run: Tells the run from all others.
        seed_of: Makes the generator of a client in a round, of their numbers; that of a run where not given.
        threads: Clients of a round that train side by side.
        hand_over: Give clients the base itself, so that nothing is encoded and decoded on its way down.
    """

    def __init__(
        self,
        experiment: Experiment,
        run: str = "",
        seed_of: Callable[[int, int], np.random.Generator] | None = None,
        threads: int = 1,
        hand_over: bool = False,
    ) -> None:
        self.experiment, self.server = experiment, new_server(experiment, run)
        self.clients = _Clients(experiment)
        self.known_rounds: dict[int, int] = {}
        self._seed_of = seed_of or (lambda round_, i: generator(experiment.config.seed, Purpose.TRAINING, round_, i))
        self._threads, self._hand_over = threads, hand_over

    @property
    def now(self) -> Experiment:
        """The experiment of the round under way, or of the last."""
        return self.experiment.at(self.server.round, self.server.removed_channels)

    def begin(self) -> None:
        """Begin the next round."""
        self.server = begin_round(self.server, self.experiment)
        header = header_of(self.server.round, self.server.digest, self.now)
        self.dense = b"" if self._hand_over else encode(self.server.base, self.now.spec, header)

    def offer(self, known_round: int | None) -> Offer:
        """Return the offer of the round to a client that has the base of a round, or nothing of use."""
        return make_offer(self.server, known_round, self.experiment.energy(self.server.round), self.dense)

    def round(self, participants: Sequence[int]) -> Payload:
        """Begin a round, have clients answer, and end it.

        Args:
            participants: Partition ids, at least one; updates are averaged in this order.

        Returns:
            The broadcast, decoded.

        Raises:
            PayloadError: Training ended in NaN or Inf.
            RunError: A client can't follow the server, which is a fault of the protocol.
        """
        self.begin()
        taken = self._answers(participants)
        self.offers = {i: part.offer for i, part in taken.items()}
        self.clients |= {i: part.state for i, part in taken.items()}
        self.known_rounds |= dict.fromkeys(taken, self.server.round)
        return self._end([part.upload for part in taken.values()])

    def _answers(self, participants: Sequence[int]) -> dict[int, Taken]:
        """What clients make of a round, side by side where there are threads."""
        states = [self.clients[i] for i in participants]
        if self._threads == 1:
            return dict(zip(participants, map(self._take_part, participants, states), strict=True))
        with ThreadPoolExecutor(self._threads) as pool:
            return dict(zip(participants, pool.map(self._take_part, participants, states), strict=True))

    def _take_part(self, client: int, state: ClientState) -> Taken:
        """One client's part: it follows the steps that it lacks, or asks for the dense model."""
        offer, base = self._followed(client, state)
        data, _ = self.experiment.client_data(client)
        local, rng = self.now.local(client), self._seed_of(offer.round, client)
        return Taken(offer, *client_round(state, base, offer, data, local, rng))

    def _followed(self, client: int, state: ClientState) -> tuple[Offer, Weights]:
        if self._hand_over:
            return self.offer(None), self.server.base
        for known_round in (self.known_rounds.get(client, 0), None):
            offer = self.offer(known_round)
            if (base := follow(state, offer, self.experiment)) is not None:
                return offer, base
        raise RunError(f"client {client} can't follow round {self.server.round}, though it got the dense model")

    def _end(self, uploads: Sequence[Upload]) -> Payload:
        """Decode the answers as the server does, and average them."""
        now, uniform = self.now, self.experiment.config.exchange.weighting == "uniform"
        bases = known_bases(now, self.server.round, self.server.steps[-1].blob)
        received = (now.received(upload.blob, self.server.round, bases) for upload in uploads)
        self.updates = [now.counted(payload, bases).tensors for payload in received]
        self.weights = [1.0 if uniform else float(upload.examples) for upload in uploads]
        energy = self.experiment.energy(self.server.round)
        noise = None
        if promise := self.experiment.promise:
            rng = generator(self.experiment.config.seed, Purpose.NOISE, self.server.round)
            noise = promise.noise(rng.standard_normal)
        self.server, broadcast = server_round(self.server, self.updates, self.weights, energy, now, noise)
        return broadcast
