"""Laws of classes of devices in a configuration: what is refused, what is written back, who is dealt to which."""

import re
import tomllib
from pathlib import Path

import pytest

from fedkd.base.errors import InputError
from fedkd.config.deciding import deciding, differing
from fedkd.config.device_class import dealt
from fedkd.config.settings import build, flatten, parse_assignment, read_toml, to_settings, to_toml
from fedkd.config.trust import trusted_settings

THIRDS = {"classes.pi5.share": 0.3333, "classes.pi5.teacher_width": 64, "classes.zero.share": 0.3333}


def test_what_is_written_reads_back_as_itself_whatever_the_order():
    config = build({"clients": 6, **THIRDS, "classes.zero.teacher": "none"})
    assert build(flatten(tomllib.loads(to_toml(config)))) == config
    assert build(dict(reversed(to_settings(config).items()))) == config
    assert [held.name for held in config.classes] == ["pi5", "zero"]
    assert (config.train_of("zero"), config.train_of("")) == (config.train, config.train)


def test_a_file_a_command_and_a_session_say_it_alike(tmp_path):
    (tmp_path / "c.toml").write_text('[classes.zero]\nshare = 0.5\nengine = "litert"\n[classes.spare]\n')
    assert build(read_toml(tmp_path / "c.toml")) == build(
        dict(map(parse_assignment, ["classes.zero.share=0.5", "classes.zero.engine=litert", "classes.spare.epochs=0"]))
    )


def test_the_example_of_the_documents_is_one():
    text = (Path(__file__).parents[2] / "docs/mechanisms.md").read_text()
    example = next(block for block in re.findall(r"```toml\n(.+?)```", text, re.S) if "[classes." in block)
    config = build(flatten(tomllib.loads(example)))
    found = dealt(config.classes, config.clients, config.seed)
    assert (found[4], found[5], sorted(found.values())) == ("zero", "zero", ["pi5", "zero", "zero"])


def test_a_class_has_what_it_sets_and_all_else_of_all_others():
    config = build({"train.epochs": 3, "train.holdout": 0.2, "classes.a.batch_size": 4, "classes.a.engine": "litert"})
    train = config.train_of("a")
    assert (train.epochs, train.holdout, train.batch_size, train.engine) == (3, 0.2, 4, "litert")


def test_a_run_without_classes_is_known_by_what_it_was_known_by():
    plain, classed = build({"clients": 4}), build({"clients": 4, "classes.a.share": 0.5})
    assert not [key for key in deciding(plain) if key.startswith("classes")]
    assert "classes.a.share was unknown, is 0.5" in differing(deciding(plain), deciding(classed))


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"classes.zero.epoch": 3}, "unknown key 'classes.zero.epoch': did you mean 'classes.zero.epochs'"),
        ({"classes.zero": 3}, "unknown key 'classes.zero'"),
        ({"classes.zero.share": "half"}, "classes.zero.share must be a number, got 'half'"),
        ({"classes.zero.share": 1.5}, "classes.zero.share must be in [0, 1]"),
        ({"classes.a.share": 0.6, "classes.b.share": 0.6}, "classes.*.share must be 1 at most in all, got 1.2"),
        ({"classes.a.clients": "1 2", "classes.b.clients": "2"}, "classes.b.clients names client 2, which classes.a"),
        ({"classes.a.clients": "1 1"}, "classes.a.clients names client 1, which classes.a.clients names already"),
        ({"classes.a.clients": "4", "clients": 4}, "classes.a.clients must be from 0 to 3, the clients there are, got"),
        ({"classes.a.clients": "one"}, "classes.a.clients must be numbers of clients, separated by spaces, got 'one'"),
        ({"classes.a.clients": "1", "classes.a.share": 0.1}, "classes.a.share must be 0 where classes.a.clients names"),
        ({"classes.a.teacher": "small"}, "classes.a.teacher must be none (the student alone), package.module:func"),
        ({"classes.a.teacher": "none", "classes.a.teacher_width": 8}, "classes.a.teacher_width must be 0 where"),
        ({"classes.a.teacher_width": -1}, "classes.a.teacher_width must be 0 (as all others) or more, got -1"),
        ({"classes.a.epochs": -1}, "classes.a.epochs must be 0 (as all others) or more, got -1"),
        ({"classes.a.batch_size": 2, "loss.angle": 1.0}, "classes.a.batch_size must be at least 3 for loss.angle"),
        ({"classes.a.engine": "torch"}, "classes.a.engine must be tensorflow or litert, or empty"),
        ({"classes.a b.share": 0.1}, "classes must be names of letters, digits and _ (classes.NAME.KEY), got 'a b'"),
        ({"classes.a.b.share": 0.1}, "classes must be names of letters, digits and _ (classes.NAME.KEY), got 'a.b'"),
        ({"classes.ä.share": 0.1}, "classes must be names of letters"),
        ({"classes.a.share": 0.1, "train.models": "student"}, "classes must be left out with method 'fedkd'"),
        (
            {"classes.a.share": 0.1, "method": "fedprox", "train.models": "teacher", "exchange.shared": "teacher"},
            "classes must be left out with method 'fedprox', whose clients don't each train a teacher of their own",
        ),
        ({"classes.a.share": 0.1, "exchange.shared": "teacher"}, "classes must be left out with"),
    ],
)
def test_what_breaks_a_rule_is_told_in_one_line(settings, words):
    with pytest.raises(InputError) as refused:
        build(settings)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_teacher_of_ones_own_is_code_to_be_trusted(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[classes.zero]\nteacher = "mine:small"\n[classes.other]\nteacher = "none"\n')
    with pytest.raises(InputError, match=r"classes.zero.teacher = 'mine:small' is Python code .* give --trust if"):
        trusted_settings(path, False)
    assert trusted_settings(path, False, {"classes.zero.teacher": "mine:small"}) == trusted_settings(path, True)


@pytest.mark.parametrize("clients, counts", [(3, 1), (30, 10), (31, 10), (3000, 1000)])
def test_shares_are_of_the_clients_that_no_class_names(clients, counts):
    classes = build({**THIRDS, "classes.rest.share": 0.3333, "classes.named.clients": f"{clients} 0"}).classes
    found = dealt(classes, clients + 1, 0)
    assert found[0] == found[clients] == "named"
    for name in ("pi5", "zero", "rest"):
        assert abs(sum(held == name for held in found.values()) - counts) <= 1


def test_the_seed_alone_deals():
    classes = build(THIRDS).classes
    assert dealt(classes, 30, 1) == dealt(classes, 30, 1) != dealt(classes, 30, 2)
    assert dealt((), 30, 0) == {}
