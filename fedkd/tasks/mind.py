"""Which news a user clicks: MIND, as rows of word ids of titles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedkd.base.encoder import Encoder, read_encoder
from fedkd.base.errors import InputError
from fedkd.base.task_name import read_columns
from fedkd.config.config import Scalar
from fedkd.config.model import ModelConfig
from fedkd.data.dataset import Dataset
from fedkd.objectives.ranking import ABSENT, Ranking
from fedkd.tasks import texts
from fedkd.tasks.builtin import first_layers, news_models
from fedkd.tasks.mind_files import Behaviors, Impression, read_split
from fedkd.tasks.task import Task

CANDIDATES = 5  # of a row: a click and four news that were passed over (Wu et al., EMNLP 2019, section 3.1)
_ALL, _USERS = "all", "users"
_SHARE = 0.95  # of the impressions whose history is no longer than a row's
_NATURAL: Mapping[str, Scalar] = {"partition.kind": "natural"}


@dataclass(frozen=True)
class Choice:
    """What of MIND is taken, by what is behind ``#``.

    Args:
        clients: Folds of users, each of which is a natural client (Wu et al. 2022 have 4); 0 for users themselves.
        history: Last clicks of a user that count, at most.
        test: Impressions of the test set; 0 for all.
        seed: Of folds, of the news passed over that stand beside a click, and of the test impressions.
    """

    clients: int = 4
    history: int = 20
    test: int = 1000
    seed: int = 0

    @classmethod
    def read(cls, text: str) -> "Choice":
        """Read ``clients=N|users,history=N,test=N|all,seed=N``, each of which may be left out.

        Raises:
            InputError: Another key, or a value that breaks a rule.
        """
        words, found = {"clients": _USERS, "test": _ALL}, {}
        for key, value in read_columns(text).items():
            if key not in cls.__dataclass_fields__:
                raise InputError(f"what is behind # must be of {', '.join(cls.__dataclass_fields__)}, got {key!r}")
            word, least = words.get(key), 0 if key == "seed" else 1
            if value != word and not (value.isdecimal() and int(value) >= least):
                raise InputError(
                    f"{key} must be a whole number from {least}{f' or {word}' if word else ''}, got {value!r}"
                )
            found[key] = 0 if value == word else int(value)
        return cls(**found)


class _Shape(NamedTuple):
    """Titles of a row: those clicked before, then the candidates."""

    history: int
    candidates: int = CANDIDATES


@dataclass(frozen=True)
class Mind:
    """The named task.

    Args:
        name: As in ``--task``.
        summary: What it is, one line.
        where: Which folder ``--data`` takes, and where the data come from.
    """

    name: str = "mind"
    summary: str = "which of the news shown does a user click, by AUC, MRR and nDCG; clients are 4 folds of users"
    where: str = (
        "the folder of MIND with behaviors.tsv and news.tsv in train and dev (or MINDsmall_train, MINDsmall_dev),"
        " https://msnews.github.io; FOLDER#clients=users,history=20,test=1000 says what of it"
    )

    def load(self, data: str, models: ModelConfig) -> Task:
        """Read the impressions and choose the models.

        A training example is a click and four news of its impression that were passed over; a test impression is as
        many examples of five candidates as it needs. Each has the last titles that its user clicked before, too.

        Args:
            data: The folder, with what is behind ``#`` (see ``Choice``).
            models: Sizes, where the user sets them, or a pretrained model's folder.

        Raises:
            InputError: No folder is given, or its files break a rule.
        """
        if not data:
            raise InputError(f"task {self.name!r} needs a folder, give --data FOLDER: {self.where}")
        place, _, columns = data.partition("#")
        try:
            choice = Choice.read(columns)
        except InputError as error:
            raise InputError(f"{data}: {error}") from None
        train, test = (read_split(Path(place), split) for split in ("train", "dev"))
        encoder = read_encoder(Path(models.pretrained)) if models.pretrained else None
        titles = _titles(place, train, test, models, encoder)
        lengths = [len(each.history) for each in train.impressions]
        middle = int(np.quantile(lengths, _SHARE, method="inverted_cdf"))
        shape, steps = _Shape(int(np.clip(middle, 1, choice.history))), titles[0].shape[1]
        if encoder is None:
            words = max(2, *(int(table.max()) + 1 for table in titles))
            teacher, student, defaults = news_models(*shape, steps, words, models)
        else:
            words = encoder.vocabulary
            found = first_layers(place, steps, CANDIDATES, encoder, models, shape.history)
            teacher, student, defaults = found
        padding = 0 if encoder is None else encoder.padding
        return Task(
            name=self.name,
            classes=(),
            train=_training(train, titles[0], shape, padding, choice),
            test=_test(test, titles[1], shape, padding, choice),
            teacher=teacher,
            student=student,
            defaults={**defaults, **_NATURAL},
            objective=Ranking.of(CANDIDATES),
            words=words,
        )


def _titles(
    source: str, train: Behaviors, test: Behaviors, models: ModelConfig, encoder: Encoder | None
) -> tuple[np.ndarray, np.ndarray]:
    """Word ids (news, steps) of the titles of both splits, by the words of the training titles."""
    arrays = {f"text_{split}": np.array(data.titles, object) for split, data in (("train", train), ("test", test))}
    found = texts.in_words(source, arrays, models) if encoder is None else texts.in_pieces(source, arrays, encoder)
    return found["x_train"], found["x_test"]


def _rows(titles: np.ndarray, history: np.ndarray, candidates: np.ndarray, padding: int) -> np.ndarray:
    """Word ids (n, titles x steps) of news by their rows of the titles, int (n, ...), -1 for none."""
    padded = np.concatenate([titles, np.full((1, titles.shape[1]), padding, titles.dtype)])
    news = np.concatenate([history, candidates], axis=1)
    return padded[news].reshape(len(news), -1)


def _history(impression: Impression, length: int) -> np.ndarray:
    """The last news that a user clicked, oldest first, then -1."""
    last = impression.history[-length:]
    return np.array([*last, *[ABSENT] * (length - len(last))])


def _training(data: Behaviors, titles: np.ndarray, shape: _Shape, padding: int, choice: Choice) -> Dataset:
    """A row a click, its place among the candidates drawn; of few news passed over some stand there twice."""
    rng = np.random.default_rng([choice.seed, 0])
    history, candidates, y, users = [], [], [], []
    for number, each in enumerate(data.impressions):
        before = _history(each, shape.history)
        for click in each.clicked:
            others = np.resize(rng.permutation(each.passed), shape.candidates - 1)
            place = int(rng.integers(shape.candidates))
            history.append(before)
            candidates.append(np.insert(others, place, click))
            y.append([number, *np.eye(shape.candidates, dtype=int)[place]])
            users.append(each.user)
    owners, target = _clients(users, choice), np.array(y, np.int32)
    x = _rows(titles, np.array(history), np.array(candidates), padding)
    return Dataset(x, target, owners, segments=target[:, 0])


def _clients(users: Sequence[str], choice: Choice) -> np.ndarray:
    """The natural client of each row: its user, or the fold that the user is in."""
    names, places = np.unique(np.array(users), return_inverse=True)
    if not choice.clients:
        return names[places]
    if choice.clients > len(names):
        raise InputError(
            f"task 'mind': clients must be at most {len(names)}, the users there are, got {choice.clients}"
        )
    folds = np.empty(len(names), np.int64)
    folds[np.random.default_rng([choice.seed, 1]).permutation(len(names))] = np.arange(len(names)) % choice.clients
    return folds[places]


def _test(data: Behaviors, titles: np.ndarray, shape: _Shape, padding: int, choice: Choice) -> Dataset:
    """All candidates of some impressions, in as many rows as they need."""
    count = len(data.impressions)
    order = np.random.default_rng([choice.seed, 2]).permutation(count)
    history, candidates, y = [], [], []
    for number in np.sort(order[: choice.test or count]):
        each = data.impressions[number]
        shown = np.array([*each.clicked, *each.passed])
        rows = -(-len(shown) // shape.candidates)
        news, clicks = np.full((2, rows * shape.candidates), ABSENT)
        news[: len(shown)], clicks[: len(shown)] = shown, 0
        clicks[: len(each.clicked)] = 1
        history.append(np.tile(_history(each, shape.history), (rows, 1)))
        candidates.append(news.reshape(rows, -1))
        y.append(np.concatenate([np.full((rows, 1), number), clicks.reshape(rows, -1)], axis=1))
    x = _rows(titles, np.concatenate(history), np.concatenate(candidates), padding)
    return Dataset(x, np.concatenate(y).astype(np.int32))
