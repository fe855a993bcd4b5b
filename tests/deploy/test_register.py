"""Laws of registering: every key once, and which id is whose is kept."""

import pytest
from typer.testing import CliRunner

from fedkd.base.errors import InputError, RunError
from sims.cli import app
from sims.deploy import flower
from sims.deploy.deployed import Deployed
from sims.deploy.folder import Deployment, write_deployment
from sims.deploy.register import register


@pytest.fixture
def superlink(monkeypatch):
    """Ids of the keys that a SuperLink knows; one it knew once it never takes again."""
    keys, known = {}, {}

    def register_key(env, key):
        if key.name in keys:
            raise RunError("flwr supernode: Using SuperLink: fedkd [code: 23] Public key already in use.")
        keys[key.name] = known[key.name] = 2**63 + len(keys)
        return keys[key.name]

    monkeypatch.setattr(flower, "register", register_key)
    monkeypatch.setattr(flower, "nodes", lambda env: [flower.Node(str(id_), "registered") for id_ in known.values()])
    return known


def test_every_key_is_registered_once_and_its_id_is_kept(deployment, superlink):
    deployed, said = Deployed.read(deployment.folder), []
    assert deployed.ids == {}
    assert register(deployed, said.append) == []
    assert register(deployed, said.append) == []
    assert said == [
        "node-0: registered",
        "node-1: registered",
        "node-0: registered before",
        "node-1: registered before",
    ]
    assert deployed.ids == {0: str(2**63), 1: str(2**63 + 1)}


def test_a_key_that_another_command_registered_is_named_and_the_others_are_registered(deployment, superlink):
    flower.register({}, deployment.public_key(0))
    deployed, said = Deployed.read(deployment.folder), []
    (left,) = register(deployed, said.append)
    assert left.startswith("node-0: its key was registered by another command")
    assert said == ["node-1: registered"]
    deployed.remember_ids({**deployed.ids, 0: str(2**63)})  # as the line says
    assert register(deployed, said.append) == []


def test_a_key_that_was_unregistered_is_lost(deployment, superlink):
    deployed = Deployed.read(deployment.folder)
    register(deployed, [].append)
    del superlink["node-1.pub"]
    assert register(deployed, [].append) == [
        "node-1: its key was unregistered, and Flower takes none twice; `fedkd deploy init` makes new ones"
    ]


def test_nodes_have_the_names_they_were_given_else_numbers(deployment, tmp_path):
    assert Deployed.read(deployment.folder).names == ("node-0", "node-1")
    write_deployment(Deployment(tmp_path / "named", 2, names=("kitchen", "pi3")), False)
    deployed = Deployed.read(tmp_path / "named")
    assert [deployed.number_of(node) for node in ("kitchen", "pi3", "0", "1")] == [0, 1, 0, 1]
    for node in ("2", "attic", "-1"):
        with pytest.raises(InputError, match="--node must be a number from 0 to 1 or a name, got"):
            deployed.number_of(node)


@pytest.mark.parametrize(
    "names, said",
    [
        (["a"], "once for each of the 2 nodes"),
        (["a", "a"], "got 'a'"),
        (["1", "2"], "got '1'"),
        (["a b", "c"], "got 'a b'"),
    ],
)
def test_names_that_would_name_nobody_are_refused(tmp_path, names, said):
    options = [word for name in names for word in ("--name", name)]
    done = CliRunner().invoke(app, ["deploy", "init", str(tmp_path / "made"), "--nodes", "2", *options])
    assert (done.exit_code, said in done.output) == (2, True)
    assert not (tmp_path / "made").exists()


def test_a_folder_that_is_no_deployment_is_refused_in_one_line(tmp_path):
    done = CliRunner().invoke(app, ["deploy", "register", str(tmp_path)])
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "no deployment, which has a deployment.toml; `fedkd deploy init` writes one" in done.output


def test_a_deployment_from_before_nodes_had_names_has_their_numbers(deployment):
    mark = deployment.folder / "deployment.toml"
    mark.write_text('nodes = 2\nhosts = ["a"]\ntask = "digits"\nvalid_until = "2029-03-03"\n')
    assert Deployed.read(deployment.folder).names == ("node-0", "node-1")
