"""The way of an update from its tensors to a blob: the transforms that a configuration asks for, one by one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fedkd.base.errors import InputError
from fedkd.base.tensors import Spec, Weights
from fedkd.base.user_code import import_function
from fedkd.config.exchange import ExchangeConfig
from fedkd.exchange.blob import Header
from fedkd.exchange.clip import Clip, ClipSent
from fedkd.exchange.codec import encode
from fedkd.exchange.coding import Coding
from fedkd.exchange.feedback import ErrorFeedback
from fedkd.exchange.sketched import HeavyHitters, Sketched, Sketching
from fedkd.exchange.transforms import Context, Sent, Transform
from fedkd.exchange.zeros import WithinZeros

# What transforms keep between rounds, by their groups; who keeps nothing has none.
States = Mapping[str, Weights]


@dataclass(frozen=True)
class Chain:
    """Transforms in the order in which they change an update."""

    transforms: tuple[Transform, ...] = ()

    @property
    def groups(self) -> frozenset[str]:
        """Those of all transforms, whether or not they keep something."""
        return frozenset(transform.group for transform in self.transforms)

    def sends(self, spec: Spec) -> Spec:
        """What is encoded of an update of a model with such tensors."""
        for transform in self.transforms:
            spec = transform.sends(spec)
        return spec

    def initial(self, spec: Spec) -> States:
        """What is kept before the first round."""
        return _filled({transform.group: transform.initial(spec) for transform in self.transforms})

    def send(
        self,
        update: Weights,
        states: States,
        context: Context,
        header: Header,
        coding: Coding,
    ) -> tuple[Sent, States]:
        """Transform and encode an update.

        Args:
            update: float32, as the spec says, or as the first transform takes it.
            states: What was kept of the round before; where a transform has none, it begins anew.
            context: Of the round.
            header: Of the blob.
            coding: How to compress.

        Returns:
            What is sent, and what is kept for the next round.

        Raises:
            PayloadError: See ``fedkd.exchange.codec.encode``.
        """
        held = {**self.initial(context.spec), **states}
        for transform in self.transforms:
            update, held[transform.group] = transform.apply(update, held.get(transform.group, []), context)
        spec, part = self.sends(context.spec), context.sub_model
        taken, left = (update, spec) if part is None else (part.taken(update), part.spec(spec))
        blob = encode(taken, left, header, coding, context.bases, context.rng)
        sent = Sent(update, blob, spec, context.bases, part)
        return sent, _filled({each.group: each.sent(sent, held[each.group]) for each in self.transforms})


# What makes a transform of the number that its name is given. A further one is a module of its own and a line here.
TRANSFORMS: Mapping[str, Callable[[float], Transform]] = {"clip": Clip}


def chain_of(exchange: ExchangeConfig, seed: int = 0, way: str = "up", clip: float = 0.0) -> Chain:
    """Return the chain of a configuration: error feedback first, so that what the others take away isn't lost by it.

    Args:
        exchange: Says which transforms there are.
        seed: Of a sketch's hashes.
        way: ``up`` for clients, ``down`` for the server; they differ where updates are sketched.
        clip: Bound on what is sent, after all other transforms; 0 for none.

    Raises:
        InputError: ``exchange.transforms`` names no transform, or two that keep their state under one name.
    """
    transforms: list[Transform] = [WithinZeros(ErrorFeedback())] if exchange.feedback else []
    transforms += map(_named, exchange.transforms.split())
    groups = [transform.group for transform in transforms]
    if twice := [group for group in groups if groups.count(group) > 1]:
        raise InputError(
            f"exchange.transforms must name transforms of different groups, got {exchange.transforms!r} with two"
            f" {twice[0]!r}"
        )
    transforms += [ClipSent(clip)] if clip else []
    if exchange.sketches:
        sketching = Sketching(seed, exchange.sketch_rows, exchange.sketch_size)
        found = HeavyHitters(sketching, exchange.momentum, exchange.density)
        transforms = [*transforms, Sketched(sketching)] if way == "up" else [found, *transforms]
    return Chain(tuple(transforms))


def _named(word: str) -> Transform:
    """A transform by its name, ``NAME=NUMBER``, or by ``package.module:function`` of the user's own."""
    name, given, number = word.partition("=")
    try:
        if name in TRANSFORMS:
            return TRANSFORMS[name](float(number))
        made = import_function(name)(*[float(number)] if given else [])
    except InputError:
        raise
    except Exception as error:
        known = ", ".join([f"{known}=NUMBER" for known in TRANSFORMS] + ["package.module:function"])
        raise InputError(f"exchange.transforms must be of {known}, got {word!r} ({error})") from None
    if not isinstance(made, Transform) or not str(getattr(made, "group", "")).startswith("transform."):
        found = f"a group {made.group!r}" if hasattr(made, "group") else type(made).__name__
        raise InputError(
            f"exchange.transforms: {name} must return a fedkd.Transform whose group is 'transform.NAME', got {found}"
        )
    return made


def _filled(states: States) -> States:
    return {group: arrays for group, arrays in states.items() if arrays}
