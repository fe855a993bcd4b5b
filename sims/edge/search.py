"""The search itself: what ``fedkd.edge.search`` plans is trained, converted and measured, cheap things first."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.compress.constraints import keep_clusters
from fedkd.compress.fold import folded
from fedkd.compress.qat import quantize_aware, skipped, stand_in_rows
from fedkd.compress.structured import prune_channels
from fedkd.config.edge import CALIBRATED
from fedkd.edge.budget import Budget
from fedkd.edge.search import Variant, Work, accurate, expected, fits, precisions, ruled_out, shares
from sims.edge.candidate import Measured, Trained, size_of
from sims.edge.found import Found
from sims.edge.source import Finished
from sims.edge.workshop import Workshop, by_reason

_BITS = 4
# A model of this share that has all the room it needs ends the search: smaller ones would only be worse.
_SMALL = 1 / 4
_FINISHED = Variant("finished")


@dataclass(frozen=True, eq=False)
class Search:
    """How one model is made smaller.

    Args:
        shop: Trains models, makes files and measures them.
        calibration: Rows for the ranges of integers, perhaps none.
    """

    shop: Workshop
    calibration: np.ndarray

    @property
    def found(self) -> Found:
        """What it has come to so far."""
        return self.shop.found

    @property
    def _budget(self) -> Budget:
        return self.shop.bench.budget

    def expect(self, model: keras.Model, last: Finished | None, base: str = "") -> None:
        """Say how much is likely to come of a model and of what finishing rounds left."""
        size = size_of(model)
        self.shop.progress.expect(expected(size.macs, size.parameters, self._budget, _SMALL, base))
        if last:
            self.shop.progress.expect({_FINISHED.name: Work(0, len(precisions(self._budget, 0)))})

    def explore(self, model: keras.Model, base: str = "") -> None:
        """Try the model as it is, then with ever fewer channels, until it has the room it needs.

        Args:
            model: Trained.
            base: What it is called among the variants, empty for the one that was given.
        """
        before = len(self.found.candidates)
        self.shop.progress.begin(Variant(base).name)
        with self._listed(Variant(base)):
            # What the search began with is a stage already.
            self._try(self.shop.measured(Variant(base), model) if base else self.shop.bench.trained(Variant(), model))
        if why := self._in_vain(model, self.found.candidates[before:]):
            self.found.failed.append((Variant(base).recipe("fewer channels"), why))
        else:
            self._narrow(model, base)
        self.shop.progress.drop()

    def _in_vain(self, model: keras.Model, whole: Sequence[Measured]) -> str:
        """Why fewer channels can't help, known from the files of the whole model; empty where they may."""
        if not whole:
            return "left out: no file of the whole model could be made"
        if self._budget.macs is not None and (uncounted := size_of(model).uncounted):
            return f"left out: the multiplications of {', '.join(uncounted)} can't be counted"
        integers = [each.file for each in whole if each.file.precision in CALIBRATED]
        for runtime in self._budget.runtimes:
            if integers and all(runtime in file.errors for file in integers):
                return f"left out: {integers[0].errors[runtime]}"
        return ""

    def _narrow(self, model: keras.Model, base: str) -> None:
        """Try a model with ever fewer channels."""
        too_large: tuple[Variant, keras.Model] | None = None
        for share in shares(size_of(model).macs, self._budget):
            variant = Variant(base, share)
            self.shop.progress.begin(variant.name)
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
                if self._try(self.shop.trained(variant, smaller)) and share <= _SMALL:
                    break
        if too_large:
            self._closest(*too_large)

    def finished(self, last: Finished) -> None:
        """Make the files of what a run's finishing rounds left, without further training.

        Args:
            last: The model without rounding, and the one that was trained with it, if one was.
        """
        variant = _FINISHED
        self.shop.progress.begin(variant.name)
        wanted = [each for each in precisions(self._budget, 0) if not (last.aware and each == "int8")]
        with self._listed(variant):
            self.shop.make(self.shop.measured(variant, last.plain), self.calibration, wanted)
        if last.aware:
            with self._listed(replace(variant, aware=True)):
                unseen = skipped(last.plain)
                trained = self.shop.measured(replace(variant, aware=True), last.aware, unseen)
                self.shop.make(trained, self._rows(last.aware, unseen), ["int8"])

    def _closest(self, variant: Variant, model: keras.Model) -> None:
        """Make the smallest model there is, though it can't meet the budget: what comes closest, measured."""
        self.found.failed = [(recipe, why) for recipe, why in self.found.failed if recipe != variant.name]
        with self._listed(variant):
            if len(self.calibration):
                self.shop.make(self.shop.trained(variant, model), self.calibration, ["int8"])
            elif not self._aware(variant, model):
                self.shop.make(self.shop.trained(variant, model), self.calibration, ["float16"])

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
        wanted = self.shop.worth_making(float_, precisions(self._budget, float_.variant.share))
        made = self.shop.make(float_, self.calibration, wanted)
        if not made and float_.variant.share == 1:
            return False  # the converter can't take it, trained or not
        integers = [each for each in made if each.file.precision in CALIBRATED]
        roomy = [each for each in integers if fits(each.file.checks)]
        lossy = bool(roomy) and not any(accurate(each.file.checks, each.close) for each in roomy)
        if (lossy or not integers) and not self._cannot_fit(float_.model):
            made += self._harder(float_)
        if any(each.file.usable and each.file.precision in CALIBRATED for each in made):
            self._clustered(float_)
        return any(fits(each.file.checks) for each in made)

    def _harder(self, float_: Trained) -> list[Measured]:
        """Integers where those of post-training cost too much: wider activations, and training that sees rounding."""
        made = [] if float_.variant.share == 1 else self.shop.make(float_, self.calibration, ["int16x8"])
        return made + self._aware(float_.variant, float_.model)

    def _aware(self, float_: Variant, model: keras.Model) -> list[Measured]:
        """Train a copy of a float model that sees rounding, and make its int8 file."""
        variant = replace(float_, aware=True)
        with self._listed(variant):
            aware, skipped = quantize_aware(model)
            self._check_rows(skipped)
            trained = self.shop.trained(variant, aware, skipped)
            return self.shop.make(trained, self._rows(aware, skipped), ["int8"])
        return []

    def _clustered(self, float_: Trained) -> None:
        """Few values a kernel: as large in flash, but less over the air."""
        variant, made = replace(float_.variant, bits=_BITS), list[Measured]()
        with self._listed(variant):
            if len(self.calibration):
                model = folded(float_.model)
                keep_clusters(model, _BITS)
                made = self.shop.make(self.shop.trained(variant, model), self.calibration, ["int8_per_tensor"])
            if any(each.close for each in made):
                return
            # It isn't the clusters that cost too much.
            aware, skipped = quantize_aware(folded(float_.model), per_tensor=True)
            self._check_rows(skipped)
            keep_clusters(aware, _BITS)
            trained = self.shop.trained(replace(variant, aware=True), aware, skipped)
            self.shop.make(trained, self._rows(aware, skipped), ["int8_per_tensor"])

    def _check_rows(self, skipped: Mapping[str, str]) -> None:
        """Raise InputError where training that sees int8 would come to nothing: some ranges could only be measured."""
        if skipped and not len(self.calibration):
            raise InputError(f"left out: without calibration rows there are no ranges for {by_reason(skipped)}")

    def _rows(self, aware: keras.Model, skipped: Mapping[str, str]) -> np.ndarray:
        """Rows for the converter: any will do for a model that has learned all its ranges, but not before."""
        return self.calibration if skipped else stand_in_rows(aware, np.random.default_rng(0))
