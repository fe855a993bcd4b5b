"""Laws of a hub's repository: what is served is signed, and never half of a publication."""

import stat
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from tuf.api.metadata import Metadata

from clients.device.state import State
from fedkd.base.errors import InputError
from server.hub import repository, store
from server.hub.repository import Repository
from server.hub.store import LIFETIME
from tests.device.hubs import NOW, fetched, hub
from tests.device.models import release


def test_keys_are_their_owners_alone_and_not_served(tmp_path):
    made = hub(tmp_path / "hub", release(1, (1, 0, 0)))
    keys = list(made.keys.iterdir())
    assert {path.name.split("-")[0] for path in keys} == {"root", "targets", "snapshot", "timestamp"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert stat.S_IMODE(made.keys.stat().st_mode) == 0o700
    assert not made.keys.is_relative_to(made.served)
    assert not [path for path in made.served.rglob("*") if path.is_file() and b"PRIVATE" in path.read_bytes()]


class Crash(Exception):
    pass


def test_a_publication_that_stops_at_any_write_leaves_the_one_before_or_itself(tmp_path, monkeypatch):
    """Five writes: manifest, model, targets, snapshot, timestamp. Only the last one shows."""
    made, real = hub(tmp_path / "hub", release(1, (1, 0, 0))), repository.replace_file
    for at, seen in enumerate((1, 1, 1, 1, 1, 2)):
        left = iter(range(at))

        def write(path, data, left=left):
            if next(left, None) is None:
                raise Crash
            real(path, data)

        with monkeypatch.context() as patched:
            patched.setattr(repository, "replace_file", write)
            patched.setattr(store, "replace_file", write)
            if at < 5:
                with pytest.raises(Crash):
                    made.publish(release(2, (0, 1, 0)))
            else:
                made.publish(release(2, (0, 1, 0)))
        assert fetched(State(tmp_path / f"device{at}"), made).manifest.version == seen


def test_a_first_publication_that_stopped_is_made_good_by_the_next(tmp_path):
    made = hub(tmp_path / "hub")
    assert not (made.store.folder / "timestamp.json").exists()
    assert not made.create()
    made.publish(release(1, (1, 0, 0)))
    assert fetched(State(tmp_path / "device"), made).manifest.version == 1


def test_refreshing_signs_the_timestamp_alone_until_half_of_another_life_is_over(tmp_path):
    made = hub(tmp_path / "hub", release(1, (1, 0, 0)))
    assert made.refresh() == ["timestamp"]
    later = Repository(made.folder, NOW + LIFETIME["targets"] / 2 + timedelta(days=1))
    assert later.refresh() == ["targets", "snapshot", "timestamp"]
    assert later.refresh() == ["timestamp"]
    year = Repository(made.folder, NOW + LIFETIME["root"])
    assert year.refresh() == ["root", "targets", "snapshot", "timestamp"]


def test_a_server_with_the_timestamps_key_alone_can_refresh(tmp_path):
    made = hub(tmp_path / "hub", release(1, (1, 0, 0)))
    for path in made.keys.iterdir():
        if not path.name.startswith("timestamp"):
            path.unlink()
    assert Repository(made.folder, NOW + timedelta(days=80)).refresh() == ["timestamp"]
    with pytest.raises(InputError, match=r"targets-[0-9a-f]{8}.pem: missing; without this key nobody can sign targets"):
        made.publish(release(2, (0, 1, 0)))


def test_a_new_key_replaces_the_old_one_in_the_next_root(tmp_path):
    made = hub(tmp_path / "hub", release(1, (1, 0, 0)))
    before = made.store.root().signed
    assert made.rotate("targets") == ["root", "targets", "snapshot", "timestamp"]
    after = made.store.root().signed
    assert after.version == before.version + 1
    assert after.roles["targets"].keyids != before.roles["targets"].keyids
    assert after.roles["root"].keyids == before.roles["root"].keyids


@pytest.mark.parametrize("role, missing", [("targets", "snapshot"), ("snapshot", "timestamp"), ("root", "timestamp")])
def test_a_rotation_that_nobody_could_end_is_not_begun(tmp_path, role, missing):
    made = hub(tmp_path / "hub", release(1, (1, 0, 0)))
    (key,) = made.keys.glob(f"{missing}-*.pem")
    key.unlink()
    before = sorted(path.name for path in made.keys.iterdir())
    with pytest.raises(InputError, match=f"without this key nobody can sign {missing}"):
        made.rotate(role)
    assert made.store.root().signed.version == 1
    assert sorted(path.name for path in made.keys.iterdir()) == before


def test_what_no_key_here_can_sign_is_named_with_its_end(tmp_path):
    made = hub(tmp_path / "hub", release(1, (1, 0, 0)))
    assert made.overdue() == {}
    end = made.store.published().targets.signed.expires
    for role in ("targets", "snapshot"):
        next(made.keys.glob(f"{role}-*.pem")).unlink()
    later = Repository(made.folder, NOW + timedelta(days=80))
    assert later.refresh() == ["timestamp"]
    assert later.overdue() == {"targets": end, "snapshot": end}


def test_of_two_that_make_a_hub_at_once_one_does(tmp_path, monkeypatch):
    """The other one comes between the first one's look and its lock."""
    real, made = Repository._alone, Repository(tmp_path / "hub")

    @contextmanager
    def late(self):
        monkeypatch.setattr(Repository, "_alone", real)
        assert Repository(made.folder).create()
        before = made.first_root.read_bytes()
        with real(self):
            yield
        assert made.first_root.read_bytes() == before

    monkeypatch.setattr(Repository, "_alone", late)
    assert not made.create()
    assert len(list(made.keys.iterdir())) == 4


def test_a_rotation_that_stopped_is_made_good_by_a_refresh(tmp_path, monkeypatch):
    made = hub(tmp_path / "hub", release(1, (1, 0, 0)))
    with monkeypatch.context() as patched:
        patched.setattr(Repository, "refresh", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            made.rotate("targets")
    assert made.refresh() == ["targets", "snapshot", "timestamp"]
    assert fetched(State(tmp_path / "device"), made, root=made.first_root.read_bytes()).manifest.version == 1


def test_lifetimes_are_a_year_three_months_and_a_week(tmp_path):
    made = hub(tmp_path / "hub", release(1, (1, 0, 0)))
    days = {}
    for name in ("1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json"):
        signed = Metadata.from_file(str(made.store.folder / name)).signed
        days[signed.type] = round((signed.expires - datetime.now(UTC)) / timedelta(days=1))
    assert days == {"root": 365, "targets": 90, "snapshot": 90, "timestamp": 7}


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"must be a new folder or a hub's, this one holds 'thesis.tex'"):
        Repository(tmp_path).create()
    with pytest.raises(InputError, match="no TUF repository"):
        Repository(tmp_path).refresh()
    with pytest.raises(InputError, match="a role must be one of root, targets, snapshot, timestamp, got 'evil'"):
        Repository(tmp_path).rotate("evil")


def test_of_two_that_publish_at_once_one_is_told_to_try_again(tmp_path):
    made = hub(tmp_path / "hub", release(1, (1, 0, 0)))
    made.publish(release(2, (0, 1, 0)), after=made.version())
    with pytest.raises(InputError, match="somebody else published there just now"):
        made.publish(release(2, (0, 0, 1)), after=1)


def test_a_damaged_target_is_not_read(tmp_path):
    made = hub(tmp_path / "hub", release(1, (1, 0, 0)))
    (stored,) = (made.targets / "default").glob("*.m.tflite")
    stored.write_bytes(b"")
    with pytest.raises(InputError, match=r"not what was published as default/m.tflite"):
        made.read("default/m.tflite")
    assert made.read("default/other") is None
