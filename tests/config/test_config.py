"""Laws of the configuration."""

import tomllib

import pytest

from fedkd.base.contents import hash_record
from fedkd.base.errors import InputError
from fedkd.config.deciding import deciding
from fedkd.config.methods import METHODS, method
from fedkd.config.settings import (
    build,
    check_settings,
    flatten,
    keys,
    parse_assignment,
    read_toml,
    to_settings,
    to_toml,
)
from fedkd.protocol.resolve import experiment_of


def test_a_run_and_its_two_apps_share_one_experiment_of_a_process():
    """The run asks with what the user gave, the apps with all settings, some of which are empty."""
    experiment = experiment_of({"task": "digits", "rounds": 2})
    config = to_settings(experiment.config)
    assert "" in config.values()
    assert experiment_of({**config, "out": "there", "engine": "local"}) is experiment
    assert experiment_of({"task": "digits", "rounds": 3}) is not experiment


def test_written_configuration_reads_back_as_itself():
    config = build({"train.epochs": 3, "partition.kind": "dirichlet", "exchange.energy_start": 0.9})
    assert build(flatten(tomllib.loads(to_toml(config)))) == config


def test_runs_from_before_a_setting_was_there_can_go_on():
    """By the settings that decide a result a checkpoint is known: one that came later may not be among them at rest.

    The digest is that of runs from before these two; it changes with a default, and then old runs are of another kind.
    """
    found = deciding(build({"task": "digits", "clients": 4}))
    assert hash_record(found) == "5fe9178303ae3653e28792b5a33378f09522958f8446919c910286b1a854b8b1"
    asked = {"train.class_weights": "balanced", "model.student_weights": "a.keras"}
    given = {"train.class_weights": "balanced", "model.student_weights": "given"}
    assert deciding(build({"task": "digits", "clients": 4, **asked})) == found | given


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"train.epoch": 3}, ["unknown key 'train.epoch'", "did you mean 'train.epochs'"]),
        ({"exchange.energy_end": 1.3}, ["exchange.energy_end must be in (0, 1], got 1.3"]),
        ({"exchange.energy_start": 0.0}, ["exchange.energy_start must be in (0, 1], got 0.0"]),
        ({"exchange.energy_start": float("nan")}, ["exchange.energy_start", "got nan"]),
        ({"rounds": 0}, ["rounds must be at least 1, got 0"]),
        ({"rounds": "ten"}, ["rounds must be a whole number, got 'ten'"]),
        ({"rounds": 2.5}, ["rounds must be a whole number, got 2.5"]),
        ({"loss.mutual": 1}, ["loss.mutual must be true or false, got 1"]),
        ({"fraction": 0}, ["fraction must be in (0, 1], got 0.0"]),
        (
            {"partition.kind": "random"},
            ["partition.kind must be one of iid, dirichlet, shards, natural, nodes, or package.module:function"],
        ),
        ({"edge.sparsity": 1.0}, ["edge.sparsity must be in [0, 1), got 1.0"]),
        ({"loss.distance": -1.0}, ["loss.distance must be 0 (off) or more, got -1.0"]),
        ({"loss.angle": float("nan")}, ["loss.angle must be 0 (off) or more, got nan"]),
        ({"loss.angle": 50, "train.batch_size": 2}, ["train.batch_size must be at least 3 for loss.angle", "got 2"]),
        ({"loss.distance": 25, "train.batch_size": 1}, ["train.batch_size must be at least 2 for loss.distance"]),
        (
            {"loss.value_relation": 1, "train.models": "student"},
            ["loss.value_relation must be 0 where one model is trained alone (student), got 1.0"],
        ),
        ({"train.models": "teacher"}, ["exchange.shared must be a model that is trained (teacher), got 'student'"]),
    ],
)
def test_bad_setting_is_refused_with_key_value_and_rule(settings, words):
    with pytest.raises(InputError) as caught:
        build(settings)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whole_number_is_a_number():
    assert check_settings({"partition.alpha": 1}) == {"partition.alpha": 1.0}


def test_every_key_appears_in_the_written_configuration():
    assert set(to_settings(build({}))) == {key for key, _ in keys()} == set(flatten(tomllib.loads(to_toml(build({})))))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_a_valid_configuration(name):
    settings = build(dict(method(name).settings))
    assert settings.exchange.shared in ("student", "teacher", "both", "none")


def test_unknown_method_names_the_known_ones():
    with pytest.raises(InputError, match=r"unknown method 'fedx'; known: fedkd, fedavg_teacher"):
        method("fedx")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("train.epochs=5", ("train.epochs", 5)),
        ("loss.mutual=false", ("loss.mutual", False)),
        ("task=npz:some/path.npz", ("task", "npz:some/path.npz")),
        ('method="fedkd"', ("method", "fedkd")),
    ],
)
def test_assignment_takes_toml_values_or_text(text, expected):
    assert parse_assignment(text) == expected


def test_assignment_without_equals_is_refused():
    with pytest.raises(InputError, match="--set takes key=value, got 'rounds'"):
        parse_assignment("rounds")


def test_missing_and_malformed_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none.toml: can't be read"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("rounds = = 3")
    with pytest.raises(InputError, match=r"bad.toml: not a TOML file"):
        read_toml(tmp_path / "bad.toml")
