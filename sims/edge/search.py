"""The search itself: what ``fedkd.edge.search`` plans is trained, converted and measured, cheap things first."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import keras
import numpy as np
from rich.console import Console

from fedkd.edge.budget import Budget
from fedkd.edge.convert import CALIBRATED
from fedkd.edge.cost import cost
from fedkd.edge.fold import folded
from fedkd.edge.held import hold_clusters
from fedkd.edge.qat import quantize_aware, stand_in_rows
from fedkd.edge.search import Variant, accurate, fits, precisions, ruled_out, shares
from fedkd.edge.structured import prune_channels
from fedkd.errors import InputError
from sims.edge.candidate import Bench, Candidate, Trained
from sims.edge.fit import Tune
from sims.edge.source import Stage

_BITS = 4
# A model of this share that has all the room it needs ends the search: smaller ones would only be worse.
_SMALL = 1 / 4
_STAND_INS = 16


@dataclass
class Found:
    """What a search has come to so far.

    Args:
        candidates: Files that were measured.
        failed: Recipes of which no file could be made, and why.
        stages: Models on the way.
    """

    candidates: list[Candidate] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)

    @property
    def best(self) -> Candidate | None:
        """The most accurate of those that meet every line, the smaller file among equals."""
        usable = [each for each in self.candidates if each.usable]
        return min(usable, key=lambda each: (-each.accuracy, each.row["flash_bytes"], each.row["path"]), default=None)


@dataclass(frozen=True, eq=False)
class Search:
    """How one model is made smaller.

    Args:
        bench: Makes and measures files.
        calibration: Rows for the ranges of integers, perhaps none.
        tune: Trains a model.
        found: Where results go.
        console: Where to show progress.
    """

    bench: Bench
    calibration: np.ndarray
    tune: Tune
    found: Found
    console: Console

    @property
    def _budget(self) -> Budget:
        return self.bench.budget

    def explore(self, model: keras.Model, base: str = "") -> None:
        """Try the model as it is, then with ever fewer channels, until it has the room it needs.

        Args:
            model: Trained.
            base: What it is called among the variants, empty for the one that was given.
        """
        self._try(self.bench.trained(Variant(base), model))
        too_large: tuple[Variant, keras.Model] | None = None
        for share in shares(cost(model).macs, self._budget):
            variant = Variant(base, share)
            try:
                smaller = prune_channels(model, share)
            except InputError as error:
                self.found.failed.append((variant.name, str(error)))
                break
            if why := self._hopeless(smaller):
                self.found.failed.append((variant.name, why))
                too_large = variant, smaller
                continue
            too_large = None
            with self._listed(variant):
                if self._try(self._trained(variant, smaller)) and share <= _SMALL:
                    break
        if too_large:
            self._closest(*too_large)

    def _closest(self, variant: Variant, model: keras.Model) -> None:
        """Make the smallest model there is, though it can't meet the budget: what comes closest, measured."""
        self.found.failed = [(recipe, why) for recipe, why in self.found.failed if recipe != variant.name]
        with self._listed(variant):
            self._make(self._trained(variant, model), self.calibration, ["int8"])

    @contextmanager
    def _listed(self, variant: Variant) -> Iterator[None]:
        """List what fails, so that the others go on."""
        try:
            yield
        except InputError as error:
            self.found.failed.append((variant.name, str(error)))

    def _hopeless(self, model: keras.Model) -> str:
        """Why no file of a model could meet the budget, known before it is trained."""
        size = cost(model)
        return ruled_out(size.macs, size.parameters, "int8", self._budget)

    def _try(self, float_: Trained) -> bool:
        """Make the files of a float model; return whether one of them fits, however accurate."""
        wanted = self._worth_making(float_, precisions(self._budget, float_.variant.share))
        made = self._make(float_, self.calibration, wanted)
        integers = [each for each in made if each.row["precision"].startswith("int")]
        roomy = [each for each in integers if fits(each.checks)]
        lossy = bool(roomy) and not any(accurate(each.checks, each.lost) for each in roomy)
        if (lossy or not integers) and not self._hopeless(float_.model):
            made += self._harder(float_)
        if any(each.usable and each.row["precision"].startswith("int") for each in made):
            self._clustered(float_)
        return any(fits(each.checks) for each in made)

    def _harder(self, float_: Trained) -> list[Candidate]:
        """Integers where those of post-training cost too much: wider activations, and training that sees rounding."""
        variant = replace(float_.variant, aware=True)
        made = [] if variant.share == 1 else self._make(float_, self.calibration, ["int16x8"])
        with self._listed(variant):
            aware, skipped = quantize_aware(float_.model)
            made += self._make(self._trained(variant, aware), self._rows(aware, skipped), ["int8"])
        return made

    def _clustered(self, float_: Trained) -> None:
        """Few values a kernel: as large in flash, but less over the air."""
        variant, model = replace(float_.variant, bits=_BITS), folded(float_.model)
        with self._listed(variant):
            made = self._held(variant, model, self.calibration)
            if not any(accurate((), each.lost) for each in made):  # it isn't the clusters that cost too much
                aware, skipped = quantize_aware(folded(float_.model), per_tensor=True)
                self._held(replace(variant, aware=True), aware, self._rows(aware, skipped))

    def _held(self, variant: Variant, model: keras.Model, rows: np.ndarray) -> list[Candidate]:
        hold_clusters(model, _BITS)
        return self._make(self._trained(variant, model), rows, ["int8_per_tensor"])

    def _rows(self, aware: keras.Model, skipped: Mapping[str, str]) -> np.ndarray:
        """Rows for the converter: any will do for a model that has learned all its ranges."""
        return self.calibration if skipped else stand_in_rows(aware, _STAND_INS, np.random.default_rng(0))

    def _trained(self, variant: Variant, model: keras.Model) -> Trained:
        """Train a variant and measure it in Keras."""
        with self.console.status(f"training {variant.name}"):
            self.tune(model)
            trained = self.bench.trained(variant, model)
        self.found.stages.append(Stage(variant.name, trained.accuracy))
        reached = f"{100 * trained.accuracy:.1f} % in Keras, {cost(model).macs:,} multiplications"
        self.console.print(f"{variant.name}: {reached}", highlight=False)
        return trained

    def _worth_making(self, trained: Trained, wanted: Sequence[str]) -> list[str]:
        """Precisions that may meet the budget. Of the whole model all are made, which costs no training."""
        if trained.variant.share == 1:
            return list(wanted)
        size = cost(trained.model)
        why = {each: ruled_out(size.macs, size.parameters, each, self._budget) for each in wanted}
        self.found.failed += [(trained.variant.recipe(each), reason) for each, reason in why.items() if reason]
        return [each for each in wanted if not why[each]]

    def _make(self, trained: Trained, rows: np.ndarray, wanted: Sequence[str]) -> list[Candidate]:
        """Convert and measure; what fails is listed, and the others go on."""
        made, ready, variant = list[Candidate](), self._with_rows(trained, rows, wanted), trained.variant
        with self.console.status(f"converting {variant.name or 'the model as it is'}"):
            files = self.bench.convert(trained, rows, ready) if ready else []
        for done in files:
            recipe = variant.recipe(done.precision)
            try:
                if done.path is None:
                    raise InputError(done.error or "no file was written")
                with self.console.status(f"measuring {recipe}"):
                    made.append(self.bench.measured(trained, done.precision, done.path))
            except InputError as error:
                self.found.failed.append((recipe, str(error)))
        self.found.candidates += made
        return made

    def _with_rows(self, trained: Trained, rows: np.ndarray, wanted: Sequence[str]) -> list[str]:
        """Precisions that can be made with the rows there are."""
        if len(rows):
            return list(wanted)
        why = "its ranges need calibration rows and there are none: give --calibration FILE.npz, or take float16"
        free = [each for each in wanted if each not in CALIBRATED]
        self.found.failed += [(trained.variant.recipe(each), why) for each in wanted if each not in free]
        return free
