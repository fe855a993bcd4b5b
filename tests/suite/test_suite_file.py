"""Laws of a suite's file: which cells follow from it, and what is refused before any of them runs."""

from pathlib import Path

import pytest

from fedkd.base.errors import InputError
from fedkd.config.methods import METHODS, method
from sims.suite.plan import plan, side_by_side, with_data
from sims.suite.suite_file import expand, is_suite, read_suite

SUITES = sorted(path for path in (Path(__file__).parents[2] / "sims/experiments").glob("*.toml"))


def settings(tables, name):
    return dict(next(cell.settings for cell in expand(tables) if cell.name == name))


def written(folder, text):
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_grid_is_the_product_of_its_lists_in_their_order():
    cells = expand({"grid": {"method": ["fedkd", "fedavg_student"], "train": {"epochs": [1, 2]}, "seed": [0, 1]}})
    assert [cell.name for cell in cells] == [
        f"{method}-digits-epochs={epochs}-seed{seed}"
        for method in ("fedkd", "fedavg_student")
        for epochs in (1, 2)
        for seed in (0, 1)
    ]
    assert dict(cells[-1].settings) == {"method": "fedavg_student", "task": "digits", "seed": 1, "train.epochs": 2}
    assert dict(cells[-1].varied) == {"train.epochs": 2}


def test_an_empty_suite_is_one_cell_with_the_defaults():
    (cell,) = expand({"base": {"rounds": 3}})
    assert cell.name == "fedkd-digits-seed0"
    assert dict(cell.settings) == {"method": "fedkd", "task": "digits", "seed": 0, "rounds": 3}


def test_a_star_stands_for_every_method():
    assert [cell.label for cell in expand({"grid": {"method": ["*"]}})] == list(METHODS)


def test_a_variant_overrides_the_base_and_the_grid_and_isnt_varied_in_what_it_sets():
    tables = {
        "base": {"rounds": 1, "train": {"epochs": 1}},
        "grid": {"method": ["fedkd", "fedmutual"], "seed": [0, 1]},
        "variants": [{}, {"name": "long", "method": "fedavg_student", "rounds": 9}],
    }
    assert [cell.name for cell in expand(tables)] == [
        "fedkd-digits-seed0", "fedkd-digits-seed1", "fedmutual-digits-seed0", "fedmutual-digits-seed1",
        "long-digits-seed0", "long-digits-seed1",
    ]  # fmt: skip
    assert settings(tables, "long-digits-seed1") == {
        "method": "fedavg_student", "task": "digits", "seed": 1, "rounds": 9, "train.epochs": 1,
    }  # fmt: skip


def test_a_variant_without_a_method_is_named_with_each_of_the_grid():
    tables = {"grid": {"method": ["fedkd", "fedmutual"]}, "variants": [{"name": "uneven", "partition.kind": "shards"}]}
    assert [cell.label for cell in expand(tables)] == ["fedkd uneven", "fedmutual uneven"]


def test_settings_of_a_task_come_between_base_and_variant_and_a_variant_has_its_own():
    tables = {
        "base": {"rounds": 1, "clients": 1, "fraction": 0.1},
        "grid": {"task": ["digits", "other"]},
        "tasks": {"other": {"rounds": 2, "clients": 2, "fraction": 0.2}},
        "variants": [{"name": "v", "clients": 3, "fraction": 0.3, "tasks": {"other": {"fraction": 0.4}}}],
    }
    chosen = {cell.settings["task"]: cell.settings for cell in expand(tables)}
    assert [chosen["digits"][key] for key in ("rounds", "clients", "fraction")] == [1, 3, 0.3]
    assert [chosen["other"][key] for key in ("rounds", "clients", "fraction")] == [2, 3, 0.4]


@pytest.mark.parametrize(
    "text, words",
    [
        ("[grid]\nseed = 3", "mine.toml: grid: seed must be a list of one value or more, got 3"),
        ("[grid]\nseed = []", "grid: seed must be a list of one value or more, got []"),
        ("[grid]\nseed = [1, 1]", "two cells are called fedkd-digits-seed1; give their variants different names"),
        ("[gird]\nseed = [1]", "unknown table or key 'gird' of a suite: did you mean 'grid'?"),
        ("rounds = 3\n[grid]\nseed = [1]", "unknown table or key 'rounds' of a suite"),
        ("grid = 3", "grid must be a table, got 3"),
        ("[variants]\nname = 'x'", "variants must be tables, each written [[variants]]"),
        ("[base]\n[tasks.cats]\nrounds = 1", "tasks.cats is for a task of no cell; tasks here: digits"),
        (
            "[[variants]]\nname = 'v'\ntasks.cats.rounds = 1",
            "variant 'v': tasks.cats is for a task of no cell; tasks here",
        ),
        (
            "[grid]\ntask = ['digits', 'a']\n[[variants]]\n[[variants]]\nname='b'\ntask = 'a'\ntasks.digits.rounds = 1",
            "variant 'b': tasks.digits is for a task of no cell; tasks here: a",
        ),
        ("[base]\n[tasks]\ndigits = 3", "tasks.digits must be a table, got 3"),
        ("[[variants]]\nname = 'v'\ntasks = 3", "variant 'v': tasks must be a table, got 3"),
        ("[[variants]]\nname = 'v'\ntasks.digits = 3", "variant 'v': tasks.digits must be a table, got 3"),
        ("name = '../mine'\n[base]", "name must be that of a folder, a text without '/', got '../mine'"),
        ("name = '..'\n[base]", "name must be that of a folder, a text without '/', got '..'"),
        ("name = ''\n[base]", "name must be that of a folder, a text without '/', got ''"),
        ("name = 3\n[base]", "name must be that of a folder, a text without '/', got 3"),
        ("task = 'digits'\nrounds = 2", "the configuration of one run, not a suite: give it to `fedkd run`"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused_with_one_line(tmp_path, text, words):
    with pytest.raises(InputError) as caught:
        read_suite(written(tmp_path, text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "grid, words",
    [
        ({"method": ["fedkd", "magic"]}, "cell magic-digits-seed0: unknown method 'magic'; known: fedkd"),
        ({"task": ["digits", "cats"]}, "cell fedkd-cats-seed0: unknown task 'cats'"),
        ({"train": {"epoch": [1]}}, "cell fedkd-digits-epoch=1-seed0: unknown key 'train.epoch': did you mean"),
        ({"rounds": [2, 0]}, "cell fedkd-digits-rounds=0-seed0: rounds must be at least 1, got 0"),
        ({"clients": [2, 5000]}, "cell fedkd-digits-clients=5000-seed0: clients must be at most"),
    ],
)
def test_the_cell_that_breaks_a_rule_is_named_with_the_rule(tmp_path, grid, words):
    with pytest.raises(InputError) as caught:
        plan(expand({"grid": grid}), tmp_path)
    assert words in str(caught.value)


def test_data_goes_to_the_cells_of_its_task_alone():
    cells = with_data(expand({"grid": {"task": ["digits", "uci_har"]}}), {"uci_har": "har.zip"})
    assert [cell.settings.get("data") for cell in cells] == [None, "har.zip"]
    with pytest.raises(InputError, match="--data cats=x: no cell has this task"):
        with_data(cells, {"cats": "x"})


def test_each_task_is_loaded_once(tmp_path, monkeypatch):
    from sims.suite import plan as module

    loaded, load = [], module.load_task
    monkeypatch.setattr(module, "load_task", lambda *given: (loaded.append(given[0]), load(*given))[1])
    tasks = ["digits", "tests.tiny:task"]
    jobs = plan(expand({"grid": {"seed": [0, 1], "task": tasks}, "base": {"clients": 2}}), tmp_path)
    assert sorted(loaded) == tasks
    assert [job.config.task for job in jobs] == tasks * 2


@pytest.mark.parametrize("threads, count", [(0, 1), (1, 4), (2, 2), (8, 1)])
def test_cells_run_side_by_side_where_their_threads_leave_cores(tmp_path, monkeypatch, threads, count):
    monkeypatch.setattr("fedkd.base.runtime.cores", lambda: 4)
    assert side_by_side(plan(expand({"base": {"threads": threads, "clients": 2}}), tmp_path)) == count


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_shipped_files_are_valid(path, tmp_path):
    from fedkd.config.settings import build, build_of_task, check_settings, read_tables, read_toml

    if not is_suite(read_tables(path)):
        build(read_toml(path))
        return
    cells = read_suite(path)[1]
    for cell in cells:
        preset = method(build_of_task(check_settings(cell.settings)).method)
        build({**preset.settings, **check_settings(cell.settings), **preset.fixed})
    if all(cell.settings["task"] == "digits" for cell in cells):  # other tasks need their files
        assert plan(cells, tmp_path)
