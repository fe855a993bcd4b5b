"""Where a search trains models, makes files and measures them, unless it did so before it was cut off."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.config.edge import CALIBRATED
from fedkd.edge.convert import Conversion
from fedkd.edge.search import Variant, ruled_out
from sims.edge.candidate import Bench, Measured, Trained, size_of
from sims.edge.fine_tune import FineTune
from sims.edge.found import Found
from sims.edge.kept import Kept, Step
from sims.edge.progress import SearchProgress


@dataclass(frozen=True, eq=False)
class Workshop:
    """Trains, converts and measures, keeps each step on disk, and says how far the search is.

    Args:
        bench: Makes and measures files.
        tune: Trains a model.
        found: Where results go.
        kept: Steps of this search, also of before it was cut off.
        progress: Shows them.
    """

    bench: Bench
    tune: FineTune
    found: Found
    kept: Kept
    progress: SearchProgress

    def trained(self, variant: Variant, model: keras.Model, skipped: Mapping[str, str] | None = None) -> Trained:
        """Train a variant and measure it in Keras."""
        if skipped:
            self._say(f"{variant.name}: rounding isn't learned in {by_reason(skipped)}")
        before = self.kept.weights(variant)
        if before:
            weights, seconds = before
            model.set_weights(weights)
        else:
            start = time.monotonic()
            with self.progress.doing(f"training {variant.name}"):
                self.tune(model)
            seconds = time.monotonic() - start
            self.kept.keep_weights(variant, model.get_weights(), seconds)
        self.progress.trained(seconds)
        return self.measured(variant, model, skipped)

    def measured(self, variant: Variant, model: keras.Model, skipped: Mapping[str, str] | None = None) -> Trained:
        """Measure a variant in Keras and say what it reaches."""
        with self.progress.doing(f"measuring {variant.name}"):
            trained = self.bench.trained(variant, model, skipped)
        self.found.stages.append(self.bench.stage(variant.name, trained))
        reached = f"{self.bench.metric.text(trained.quality)} in Keras, {size_of(model).macs:,} multiplications"
        self._say(f"{variant.name}: {reached}")
        return trained

    def worth_making(self, trained: Trained, wanted: Sequence[str]) -> list[str]:
        """Precisions that may meet the budget. Of the whole model all are made, which costs no training."""
        if trained.variant.share == 1:
            return list(wanted)
        size = size_of(trained.model)
        why = {each: ruled_out(size.macs, size.parameters, each, self.bench.budget) for each in wanted}
        self.found.failed += [(trained.variant.recipe(each), reason) for each, reason in why.items() if reason]
        return [each for each in wanted if not why[each]]

    def make(self, trained: Trained, rows: np.ndarray, wanted: Sequence[str]) -> list[Measured]:
        """Convert and measure; what fails is listed, and the others go on."""
        made, variant = list[Measured](), trained.variant
        ready = self._with_rows(trained, rows, wanted)
        steps = {each: self.kept.step(variant, each) for each in ready}
        start, missing = time.monotonic(), [each for each, step in steps.items() if step is None]
        with self.progress.doing(f"converting {variant.name or 'the model as it is'}"):
            files = self.bench.convert(trained, rows, missing) if missing else []
        seconds = (time.monotonic() - start) / max(1, len(files))  # of each
        done = {each.precision: each for each in files}
        for precision, before in steps.items():
            step = before or self._step(trained, done[precision], seconds)
            recipe = variant.recipe(precision)
            if step.measured:
                made.append(step.measured)
                self.found.candidates.append(step.measured)
            else:
                self.found.failed.append((recipe, step.error))
            self._say_made(recipe, step)
        return made

    def _step(self, trained: Trained, file: Conversion, seconds: float) -> Step:
        """Measure a file that was made, and keep what became of it."""
        start, variant = time.monotonic(), trained.variant
        try:
            if file.path is None:
                raise InputError(file.error or "no file was written")
            with self.progress.doing(f"measuring {variant.recipe(file.precision)}"):
                step = Step(0.0, self.bench.measured(trained, file.precision, file.path))
        except InputError as error:
            step = Step(0.0, error=self.bench.without_folder(str(error)))
        step = replace(step, seconds=seconds + time.monotonic() - start)
        self.kept.keep_step(variant, file.precision, step)
        return step

    def _with_rows(self, trained: Trained, rows: np.ndarray, wanted: Sequence[str]) -> list[str]:
        """Precisions that can be made with the rows there are."""
        if len(rows):
            return list(wanted)
        why = "its ranges need calibration rows and there are none: give --calibration FILE.npz, or take float16"
        free = [each for each in wanted if each not in CALIBRATED]
        self.found.failed += [(trained.variant.recipe(each), why) for each in wanted if each not in free]
        return free

    def _say(self, text: str) -> None:
        self.progress.console.print(text, highlight=False)

    def _say_made(self, recipe: str, step: Step) -> None:
        figures = "no file"
        if step.measured:
            quality = step.measured.worst(self.bench.metric)
            figures = self.progress.figures(quality, step.measured.file.flash_bytes)
        self.progress.made(recipe, figures, step.seconds)


def by_reason(skipped: Mapping[str, str]) -> str:
    """How many layers were skipped for each reason, as ``2 layers (recurrent), 1 layer (unknown)``."""
    counts = Counter(skipped.values())
    return ", ".join(f"{count} layer{'s' * (count > 1)} ({why})" for why, count in counts.items())
