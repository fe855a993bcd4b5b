"""The search itself: what ``fedkd.edge.search`` plans is trained, converted and measured, cheap things first."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import keras
import numpy as np
from rich.console import Console

from fedkd.base.errors import InputError
from fedkd.compress.constraints import keep_clusters
from fedkd.compress.fold import folded
from fedkd.compress.qat import quantize_aware, skipped, stand_in_rows
from fedkd.compress.structured import prune_channels
from fedkd.config.sections import CALIBRATED
from fedkd.edge.budget import Budget
from fedkd.edge.search import Variant, accurate, fits, precisions, ruled_out, shares
from sims.edge.candidate import Bench, Candidate, Trained, size_of
from sims.edge.fine_tune import FineTune
from sims.edge.source import Finished, Stage

_BITS = 4
# A model of this share that has all the room it needs ends the search: smaller ones would only be worse.
_SMALL = 1 / 4


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
    tune: FineTune
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
        before = len(self.found.candidates)
        with self._listed(Variant(base)):
            # What the search began with is a stage already.
            self._try(self._measured(Variant(base), model) if base else self.bench.trained(Variant(), model))
        if why := self._in_vain(model, self.found.candidates[before:]):
            self.found.failed.append((Variant(base).recipe("fewer channels"), why))
            return
        self._narrow(model, base)

    def _in_vain(self, model: keras.Model, whole: Sequence[Candidate]) -> str:
        """Why fewer channels can't help, known from the files of the whole model; empty where they may."""
        if not whole:
            return "left out: no file of the whole model could be made"
        if self._budget.macs is not None and (uncounted := size_of(model).uncounted):
            return f"left out: the multiplications of {', '.join(uncounted)} can't be counted"
        errors = [each.row["errors"].get("tflm") for each in whole if each.row["precision"].startswith("int")]
        if self._budget.micro and errors and all(errors):
            return f"left out: {errors[0]}"
        return ""

    def _narrow(self, model: keras.Model, base: str) -> None:
        """Try a model with ever fewer channels."""
        too_large: tuple[Variant, keras.Model] | None = None
        for share in shares(size_of(model).macs, self._budget):
            variant = Variant(base, share)
            try:
                smaller = prune_channels(model, share)
            except InputError as error:
                self.found.failed.append((variant.name, str(error)))
                break
            if why := self._cannot_fit(smaller):
                self.found.failed.append((variant.name, why))
                too_large = variant, smaller
                continue
            too_large = None
            with self._listed(variant):
                if self._try(self._trained(variant, smaller)) and share <= _SMALL:
                    break
        if too_large:
            self._closest(*too_large)

    def finished(self, last: Finished) -> None:
        """Make the files of what a run's finishing rounds left, without further training.

        Args:
            last: The model without rounding, and the one that was trained with it, if one was.
        """
        variant = Variant("finished")
        wanted = [each for each in precisions(self._budget, 0) if not (last.aware and each == "int8")]
        with self._listed(variant):
            self._make(self._measured(variant, last.plain), self.calibration, wanted)
        if last.aware:
            with self._listed(replace(variant, aware=True)):
                unseen = skipped(last.plain)
                trained = self._measured(replace(variant, aware=True), last.aware, unseen)
                self._make(trained, self._rows(last.aware, unseen), ["int8"])

    def _closest(self, variant: Variant, model: keras.Model) -> None:
        """Make the smallest model there is, though it can't meet the budget: what comes closest, measured."""
        self.found.failed = [(recipe, why) for recipe, why in self.found.failed if recipe != variant.name]
        with self._listed(variant):
            if len(self.calibration):
                self._make(self._trained(variant, model), self.calibration, ["int8"])
            elif not self._aware(variant, model):
                self._make(self._trained(variant, model), self.calibration, ["float16"])

    @contextmanager
    def _listed(self, variant: Variant) -> Iterator[None]:
        """List what fails, so that the others go on."""
        try:
            yield
        except InputError as error:
            self.found.failed.append((variant.name or "as it is", str(error)))

    def _cannot_fit(self, model: keras.Model) -> str:
        """Why no file of a model could meet the budget, known before it is trained."""
        size = size_of(model)
        return ruled_out(size.macs, size.parameters, "int8", self._budget)

    def _try(self, float_: Trained) -> bool:
        """Make the files of a float model; return whether one of them fits, however accurate."""
        wanted = self._worth_making(float_, precisions(self._budget, float_.variant.share))
        made = self._make(float_, self.calibration, wanted)
        if not made and float_.variant.share == 1:
            return False  # the converter can't take it, trained or not
        integers = [each for each in made if each.row["precision"].startswith("int")]
        roomy = [each for each in integers if fits(each.checks)]
        lossy = bool(roomy) and not any(accurate(each.checks, each.lost) for each in roomy)
        if (lossy or not integers) and not self._cannot_fit(float_.model):
            made += self._harder(float_)
        if any(each.usable and each.row["precision"].startswith("int") for each in made):
            self._clustered(float_)
        return any(fits(each.checks) for each in made)

    def _harder(self, float_: Trained) -> list[Candidate]:
        """Integers where those of post-training cost too much: wider activations, and training that sees rounding."""
        made = [] if float_.variant.share == 1 else self._make(float_, self.calibration, ["int16x8"])
        return made + self._aware(float_.variant, float_.model)

    def _aware(self, float_: Variant, model: keras.Model) -> list[Candidate]:
        """Train a copy of a float model that sees rounding, and make its int8 file."""
        variant = replace(float_, aware=True)
        with self._listed(variant):
            aware, skipped = quantize_aware(model)
            self._check_rows(skipped)
            trained = self._trained(variant, aware, skipped)
            return self._make(trained, self._rows(aware, skipped), ["int8"])
        return []

    def _clustered(self, float_: Trained) -> None:
        """Few values a kernel: as large in flash, but less over the air."""
        variant, made = replace(float_.variant, bits=_BITS), list[Candidate]()
        with self._listed(variant):
            if len(self.calibration):
                model = folded(float_.model)
                keep_clusters(model, _BITS)
                made = self._make(self._trained(variant, model), self.calibration, ["int8_per_tensor"])
            if any(accurate((), each.lost) for each in made):
                return
            # It isn't the clusters that cost too much.
            aware, skipped = quantize_aware(folded(float_.model), per_tensor=True)
            self._check_rows(skipped)
            keep_clusters(aware, _BITS)
            trained = self._trained(replace(variant, aware=True), aware, skipped)
            self._make(trained, self._rows(aware, skipped), ["int8_per_tensor"])

    def _check_rows(self, skipped: Mapping[str, str]) -> None:
        """Raise InputError where training that sees int8 would come to nothing: some ranges could only be measured."""
        if skipped and not len(self.calibration):
            raise InputError(f"left out: without calibration rows there are no ranges for {_by_reason(skipped)}")

    def _rows(self, aware: keras.Model, skipped: Mapping[str, str]) -> np.ndarray:
        """Rows for the converter: any will do for a model that has learned all its ranges, but not before."""
        return self.calibration if skipped else stand_in_rows(aware, np.random.default_rng(0))

    def _trained(self, variant: Variant, model: keras.Model, skipped: Mapping[str, str] | None = None) -> Trained:
        """Train a variant and measure it in Keras."""
        if skipped:
            self.console.print(f"{variant.name}: rounding isn't learned in {_by_reason(skipped)}", highlight=False)
        with self.console.status(f"training {variant.name}"):
            self.tune(model)
        return self._measured(variant, model, skipped)

    def _measured(self, variant: Variant, model: keras.Model, skipped: Mapping[str, str] | None = None) -> Trained:
        """Measure a variant in Keras and say what it reaches."""
        with self.console.status(f"measuring {variant.name}"):
            trained = self.bench.trained(variant, model, skipped)
        self.found.stages.append(Stage(variant.name, trained.accuracy))
        reached = f"{100 * trained.accuracy:.1f} % in Keras, {size_of(model).macs:,} multiplications"
        self.console.print(f"{variant.name}: {reached}", highlight=False)
        return trained

    def _worth_making(self, trained: Trained, wanted: Sequence[str]) -> list[str]:
        """Precisions that may meet the budget. Of the whole model all are made, which costs no training."""
        if trained.variant.share == 1:
            return list(wanted)
        size = size_of(trained.model)
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
                self.found.failed.append((recipe, self.bench.without_folder(str(error))))
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


def _by_reason(skipped: Mapping[str, str]) -> str:
    """How many layers were skipped for each reason, as ``2 layers (recurrent), 1 layer (unknown)``."""
    counts = Counter(skipped.values())
    return ", ".join(f"{count} layer{'s' * (count > 1)} ({why})" for why, count in counts.items())
