"""Tweets that tell of an adverse drug event, in the files of the shared tasks of SMM4H."""

from dataclasses import dataclass, replace
from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.config.model import ModelConfig
from fedkd.objectives.detection import Detection
from fedkd.tasks import npz
from fedkd.tasks.csv_texts import Split, arrays_of, found_column
from fedkd.tasks.delimited import Table, read_table
from fedkd.tasks.task import Task

CLASSES = ("no_ADE", "ADE")
# What stands for a class in the files of the several years.
_KINDS = {
    **dict.fromkeys(("0", "NoADE", "noADE", "no_ADE", "NoADR", "N"), CLASSES[0]),
    **dict.fromkeys(("1", "ADE", "ADR", "Y"), CLASSES[1]),
}
_COLUMNS = ("tweet_id", "user_id", "class", "tweet")  # of a file whose first line is a tweet
_LABELS, _TEXTS = ("class", "label"), ("tweet", "text")
_TEST_FILES = ("validation.tsv", "valid.tsv", "dev.tsv", "test.tsv")
_WIDTHS = (128, 32)


@dataclass(frozen=True)
class Smm4h:
    """The named task: whether a tweet tells of an adverse drug event, judged by F1, precision and recall of those.

    Args:
        name: As in ``--task``.
        summary: What it is, one line.
        where: Which file ``--data`` takes, and where the data come from.
    """

    name: str = "smm4h"
    summary: str = "does a tweet tell of an adverse drug event, 2 classes, by F1 of those that do"
    where: str = (
        "the TSV of a shared task of SMM4H (columns tweet_id user_id class tweet), or a folder with its train.tsv and"
        " validation.tsv, https://healthlanguageprocessing.org"
    )

    def load(self, data: str, models: ModelConfig) -> Task:
        """Read the tweets and choose the models.

        Args:
            data: A TSV, a fifth of each class of which is the test set, or a folder with train.tsv and one of
                validation.tsv, valid.tsv, dev.tsv and test.tsv.
            models: Sizes, where the user sets them, or a pretrained model's folder.

        Raises:
            InputError: No file is given or it can't be read, or its columns or labels are others.
        """
        train, test = (None if path is None else _read(path) for path in self._files(data))
        assert train is not None
        columns = {"text": found_column(train, _TEXTS, "text"), "label": found_column(train, _LABELS, "label")}
        arrays = arrays_of(train, test, columns, Split(), _KINDS)
        if not models.pretrained:
            widths = models.teacher_width or _WIDTHS[0], models.student_width or _WIDTHS[1]
            models = replace(models, teacher_width=widths[0], student_width=widths[1])
        task = npz.task_of(self.name, data, arrays, models)
        return replace(task, classes=CLASSES, objective=Detection(CLASSES))

    def _files(self, data: str) -> tuple[Path, Path | None]:
        if not data:
            raise InputError(f"task {self.name!r} needs a file, give --data FILE: {self.where}")
        path = Path(data)
        if not path.exists():
            raise InputError(f"{data}: no such file; task {self.name!r} takes {self.where}")
        if path.is_file():
            return path, None
        tests = [path / name for name in _TEST_FILES if (path / name).is_file()]
        if not tests or not (path / "train.tsv").is_file():
            raise InputError(f"{data}: must hold train.tsv and one of {', '.join(_TEST_FILES)}")
        return path / "train.tsv", tests[0]


def _read(path: Path) -> Table:
    """Read a file whose first line names the columns, or is a tweet."""
    table = read_table(path)
    return read_table(path, _COLUMNS) if table.columns[0].isdecimal() else table
