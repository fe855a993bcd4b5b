"""A small folder of MIND's layout, in which users click what is of the topic they clicked before."""

import numpy as np

TOPICS = {
    "sports": "goal team match",
    "money": "bank shares price",
    "food": "bread cook recipe",
    "cars": "road motor fuel",
}
OTHERS = ("new", "the", "today", '"best"', "why")


def news(rng, count, first):
    """Lines of news.tsv; the topic of news N is that of N modulo their number."""
    lines = []
    for i in range(first, first + count):
        topic = list(TOPICS)[i % len(TOPICS)]
        words = [*rng.permutation(TOPICS[topic].split())[:2], *rng.choice(OTHERS, rng.integers(1, 4))]
        title = " ".join(rng.permutation(words))
        lines.append(f'N{i}\t{topic}\t{topic}-more\t{title}\tAn abstract.\thttps://x/{i}\t[{{"Label": "A"}}]\t[]\n')
    return lines


def behaviors(rng, count, users, ids):
    """Lines of behaviors.tsv: users' topics are those of their numbers; some have clicked nothing yet."""
    by_topic = [[i for i in ids if i % len(TOPICS) == t] for t in range(len(TOPICS))]
    lines = []
    for number in range(1, count + 1):
        user = int(rng.integers(users))
        mine = by_topic[user % len(TOPICS)]
        rest = [i for i in ids if i not in mine]
        history = rng.choice(mine, rng.integers(0 if number % 10 == 0 else 2, 7))
        clicked, passed = rng.choice(mine, 1 + number % 2, replace=False), rng.choice(rest, rng.integers(2, 9))
        shown = rng.permutation([*(f"N{i}-1" for i in clicked), *(f"N{i}-0" for i in passed)])
        before = " ".join(f"N{i}" for i in history)
        lines.append(f"{number}\tU{user}\t11/11/2019 9:05:58 AM\t{before}\t{' '.join(shown)}\n")
    return lines


def write(folder, train=120, dev=30, users=12, seed=0, names=("train", "dev")):
    """Write both splits; those of dev have news of their own beside those of train."""
    rng = np.random.default_rng(seed)
    first = news(rng, 40, 0)
    for name, count, more in zip(names, (train, dev), ([], news(rng, 20, 40)), strict=True):
        (folder / name).mkdir(parents=True)
        (folder / name / "news.tsv").write_text("".join(first + more))
        ids = range(len(first) + len(more))
        (folder / name / "behaviors.tsv").write_text("".join(behaviors(rng, count, users, ids)))
    return folder
