"""Any Keras optimiser as a pure function, so that one compiled step serves all clients."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.keras_internals import without_distribution
from fedkd.base.tensors import Weights
from fedkd.base.user_code import import_function
from fedkd.distill.adam import Adam
from fedkd.distill.compiled import Compiled


class PureOptimizer:
    """A Keras optimiser whose variables are arguments and results.

    Args:
        optimizer: Not used elsewhere; its learning rate must be a number, not a schedule.
        variables: What it will train, as it is before the first step; their constraints are kept to.

    Raises:
        InputError: The learning rate is a schedule (``train.decay`` is what changes it over the rounds), the optimiser
            is one of few that can't be made pure (Nadam), or an option of it would do nothing.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> None:
        _check_options(optimizer)
        self._optimizer = without_distribution(optimizer)
        held = [_float32(variable) for variable in variables]
        optimizer.build(held)
        rates = [v is optimizer.learning_rate for v in optimizer.variables]
        if not any(rates):
            raise InputError(
                f"train.optimizer must have a number as its learning rate, got {type(optimizer).__name__} with a"
                " schedule; use train.decay instead"
            )
        self._rate = rates.index(True)
        self._learning_rate = float(optimizer.learning_rate)
        self._try([keras.ops.convert_to_numpy(v) for v in held])

    def _try(self, values: Sequence[np.ndarray]) -> None:
        """Take a step now: the few optimisers that go round what was undone fail here and not inside a run."""
        try:
            self.step(self.initial(), [np.zeros_like(v) for v in values], values, np.float32(1))
        except Exception as error:
            kind = type(self._optimizer).__name__
            raise InputError(
                f"train.optimizer: {kind} can't serve many clients ({_first_line(error)}); take another"
            ) from None

    def initial(self) -> Weights:
        """Variables before the first step: the step count, and what the optimiser remembers of each tensor."""
        values = [keras.ops.convert_to_numpy(v) for v in self._optimizer.variables]
        return [np.array(v) for i, v in enumerate(values) if i != self._rate]

    def step(
        self, moments: Sequence[Any], gradients: Sequence[Any], values: Sequence[Any], rate: Any
    ) -> tuple[list[Any], list[Any]]:
        """Take one step.

        Args:
            moments: As ``initial`` returns them.
            gradients: One a tensor.
            values: The tensors before the step.
            rate: Scalar that multiplies the learning rate.

        Returns:
            Tensors and moments after the step.
        """
        variables = list(moments)
        variables.insert(self._rate, self._learning_rate * rate)
        after, variables = self._optimizer.stateless_apply(variables, list(gradients), list(values))
        del variables[self._rate]
        return after, variables


def pure(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> Adam | PureOptimizer:
    """Return an optimiser as a pure function: plain Adam by itself, any other of Keras' by what Keras does.

    Raises:
        InputError: See ``PureOptimizer``.
    """
    return (Adam if Adam.serves(optimizer, variables) else PureOptimizer)(optimizer, variables)


def _check_options(optimizer: keras.optimizers.Optimizer) -> None:
    """Refuse what Keras does outside of an optimiser's step, where no client would ever do it."""
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        raise InputError(
            "train.optimizer must have one learning rate, got a MultiOptimizer; return one of its optimisers"
        )
    for option, why in _OUTSIDE.items():
        if value := getattr(optimizer, option, None):
            raise InputError(f"train.optimizer must be without {option}, got {value!r}: {why}")


_OUTSIDE = {
    "use_ema": "averages of weights take effect at the end of Keras' own fit alone; leave it out",
    "loss_scale_factor": "losses are scaled by themselves where a model's dtype needs it; leave it out",
}


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]


def _float32(variable: keras.Variable) -> keras.Variable:
    """Copy of a variable, with the name by which optimisers may leave it out."""
    value = keras.ops.convert_to_numpy(variable).astype(np.float32)
    copy = keras.Variable(value, dtype="float32", name=variable.path.replace("/", "_"))
    copy.constraint = variable.constraint
    return copy


def known_optimizers() -> dict[str, type[keras.optimizers.Optimizer]]:
    """Optimisers of Keras that can be named, by their names in lower case."""
    base = keras.optimizers.Optimizer
    others = ("Optimizer", "LossScaleOptimizer", "MultiOptimizer", "Nadam")  # wrappers, and one that can't be pure
    classes = [c for c in vars(keras.optimizers).values() if isinstance(c, type) and issubclass(c, base)]
    return {c.__name__.lower(): c for c in classes if c.__name__ not in others}


def optimizer_factory(name: str) -> Callable[[float], keras.optimizers.Optimizer]:
    """Find an optimiser: a name of ``keras.optimizers``, or ``package.module:function`` of the user's own.

    Args:
        name: As above; the function takes the learning rate and returns a Keras optimiser.

    Raises:
        InputError: No such optimiser.
    """
    if ":" in name:
        return partial(_own, name)
    known = known_optimizers()
    if name.lower() not in known:
        raise InputError(
            f"train.optimizer must be one of {', '.join(sorted(known))}, or package.module:function, got {name!r}"
        )
    return known[name.lower()]


def _own(name: str, rate: float) -> keras.optimizers.Optimizer:
    """Call the user's function; whatever goes wrong in it is told in one line."""
    try:
        made = import_function(name)(rate)
    except Exception as error:
        raise InputError(f"train.optimizer {name!r}: {type(error).__name__}: {error}") from error
    if not isinstance(made, keras.optimizers.Optimizer):
        raise InputError(
            f"train.optimizer {name!r}: must return a keras.optimizers.Optimizer, got {type(made).__name__}"
        )
    _try_compiled(name)
    return made


@cache
def _try_compiled(name: str) -> None:
    """Take a compiled step of the user's optimiser: some that step well one by one can't be compiled.

    Raises:
        InputError: This is one of them.
    """
    made = import_function(name)(0.1)
    pure = PureOptimizer(made, [keras.Variable(np.ones(2, np.float32))])
    try:
        Compiled(pure.step)(None, pure.initial(), [np.ones(2, np.float32)], [np.ones(2, np.float32)], np.float32(1))
    except Exception as error:
        kind = type(made).__name__
        raise InputError(
            f"train.optimizer {name!r}: {kind} with its options can't be compiled ({_first_line(error)}); leave options"
            " such as gradient_accumulation_steps out"
        ) from None
