"""A device under attack: what isn't signed, new, whole and right is never loaded, and the model before stays.

The list is python-tuf's own client tests', and what a signed model can still do.
"""

import base64
import itertools
import json
import os
from datetime import timedelta

import numpy as np
import pytest
from tuf.api.exceptions import DownloadError
from tuf.api.metadata import Metadata, MetaFile

from clients.device.classify import classify
from clients.device.errors import UpdateFailed
from clients.device.update import update
from server.hub.store import LIFETIME
from tests.device.hubs import NOW, Folder, copied, fetched, hub, refused, resigned
from tests.device.models import LABELS, X, adder, crasher, manifest, release


def answers(state):
    return [answer["label"] for answer in classify(state, None)["answers"]]


def test_what_is_signed_and_newer_is_adopted_and_answers_as_it_must(behind, newest):
    """Version 2 adds 1 to green: of the rows (1,0,0), (0,2,0), (0,0,3), (-1,-2,-3) all but the first stay."""
    found = fetched(behind, newest)
    assert (found.manifest.version, found.agreement) == (2, 1.0)
    expected = [LABELS[index] for index in (X + np.array([0, 1, 0])).argmax(-1)]
    assert answers(behind) == expected
    assert fetched(behind, newest) is None


def test_rollback_of_the_timestamp_is_refused(device, old):
    refused(device, old, "older than it did before")


def test_rollback_of_the_snapshot_is_refused_though_the_timestamp_key_was_stolen(device, newest):
    def back(timestamp):
        timestamp.version, timestamp.snapshot_meta = 3, MetaFile(1)

    resigned(newest, "timestamp.json", back)
    refused(device, newest, "older than it did before")


def test_rollback_of_the_targets_is_refused_though_two_keys_were_stolen(device, newest):
    def back(snapshot):
        snapshot.version, snapshot.meta = 3, {"targets.json": MetaFile(1)}

    resigned(newest, "2.snapshot.json", back)
    (newest.store.folder / "2.snapshot.json").rename(newest.store.folder / "3.snapshot.json")
    resigned(newest, "timestamp.json", lambda t: vars(t).update(version=3, snapshot_meta=MetaFile(3)))
    refused(device, newest, "older than it did before")


def test_rollback_that_is_signed_is_refused_by_the_versions_of_the_channel(device, newest):
    newest.publish(release(1, (1, 0, 0)))
    refused(device, newest, "offers version 1, 2 runs here")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "root"])
def test_freeze_is_refused_when_metadata_expire(behind, newest, role):
    def expire(signed):
        signed.expires = NOW.replace(microsecond=0) - timedelta(seconds=1)

    name = {"timestamp": "timestamp.json", "root": "1.root.json"}.get(role, f"2.{role}.json")
    resigned(newest, name, expire)
    refused(behind, newest, "out of date", root=newest.first_root.read_bytes())


def test_freeze_ends_by_itself_after_a_timestamps_week(behind, newest):
    stale = copied(newest, newest.folder.parent / "stale", now=NOW - LIFETIME["timestamp"] - timedelta(minutes=1))
    stale.refresh()
    refused(behind, stale, "timestamp.json is expired")


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_mix_and_match_is_refused(behind, newest, old, role):
    """Version 1 of one role among versions 2 of the others, each signed."""
    (newest.store.folder / f"2.{role}.json").write_bytes((old.store.folder / f"1.{role}.json").read_bytes())
    refused(behind, newest, "parts of different ages")


class Endless(Folder):
    """Sends files that never end, and counts what it sent of them."""

    def __init__(self, folder, which):
        super().__init__(folder)
        self.which, self.sent = which, 0

    def read(self, path, offset, seconds):
        start, chunks = super().read(path, offset, seconds)
        return start, itertools.chain(chunks, self.more()) if self.which in path else chunks

    def more(self):
        while self.sent < 1 << 30:
            self.sent += 1 << 16
            yield b" " * (1 << 16)


@pytest.mark.parametrize("which", ["timestamp", "2.snapshot", "2.targets", "manifest", "m.tflite"])
def test_endless_data_end_where_the_signed_size_does(behind, newest, which):
    source = Endless(newest.served, which)
    with pytest.raises(UpdateFailed, match="more bytes than were signed"):
        update(behind, source, newest.first_root.read_bytes(), ["default"])
    assert source.sent <= 6 << 20
    assert behind.current().manifest.version == 1


def test_a_hub_of_other_keys_is_refused(behind, tmp_path, newest):
    stranger = hub(tmp_path / "stranger", release(1, (0, 0, 1)), release(2, (0, 0, 1)), release(3, (0, 0, 1)))
    refused(behind, stranger, "not signed by the keys", root=newest.first_root.read_bytes())


def test_a_root_that_the_old_root_did_not_sign_is_refused(behind, tmp_path, newest):
    stranger = hub(tmp_path / "stranger", release(1, (0, 0, 1)))
    stranger.rotate("root")
    refused(behind, stranger, "not signed by the keys", root=newest.first_root.read_bytes())


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.targets.json"])
def test_metadata_changed_after_signing_are_refused(behind, newest, name):
    path = newest.store.folder / name
    metadata = Metadata.from_file(str(path))
    metadata.signed.expires += timedelta(days=1000)
    metadata.to_file(str(path))
    refused(behind, newest, "not signed by the keys")


@pytest.mark.parametrize("name", ["manifest.json", "m.tflite"])
def test_a_target_changed_after_signing_is_refused(behind, newest, name):
    refused(behind, newest, "other bytes than", lambda path, data: data[:-1] + b"?" if path.endswith(name) else data)
    assert not list(behind.download.glob("*.part"))
    assert fetched(behind, newest).manifest.version == 2


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.targets.json", "manifest.json", "m.tflite"])
def test_truncated_files_are_refused(behind, newest, name):
    for left in (0, 1, 100):

        def cut(path, data, left=left):
            return data[:left] if path.endswith(name) else data

        refused(behind, newest, "damaged|other bytes", cut)


def test_another_targets_bytes_are_refused(behind, newest, old):
    """Version 1's model, as long as version 2's and once signed, in its place."""
    (stored,) = (old.targets / "default").glob("*.m.tflite")
    refused(behind, newest, "other bytes than", lambda p, data: stored.read_bytes() if "m.tflite" in p else data)


def test_a_model_signed_beside_another_ones_manifest_is_refused(behind, newest):
    mixed = release(3, (0, 0, 1)) | {"default/m.tflite": adder((9, 9, 9))}
    newest.publish(mixed)
    refused(behind, newest, "isn't the file that its manifest was signed for")


def test_a_manifest_signed_for_another_channel_is_refused(behind, newest):
    newest.publish({"default/manifest.json": release(3, (0, 0, 1), "other")["other/manifest.json"]})
    refused(behind, newest, "signed, but for channel 'other'")


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b'{"format": 2}', b"\xff"])
def test_signed_nonsense_is_no_manifest(behind, newest, data):
    newest.publish({"default/manifest.json": data})
    refused(behind, newest, "default/manifest.json: no manifest of a model")


def test_a_package_that_was_never_signed_is_not_even_asked_for(behind, newest):
    (newest.targets / "default" / "evil.tflite").write_bytes(crasher())
    source = Folder(newest.served)
    update(behind, source, newest.first_root.read_bytes(), ["default"])
    assert not [path for path, _ in source.asked if "evil" in path]


def test_a_signed_model_that_takes_its_process_down_is_never_adopted(behind, newest):
    newest.publish(release(3, (0, 0, 0), file=crasher()))
    refused(behind, newest, "can't run here")
    assert classify(behind, None)["model"]["version"] == 1


def test_a_signed_model_that_answers_otherwise_than_its_manifest_says_is_never_adopted(behind, newest):
    """Logits that differ by 1 where .001 is allowed."""
    file = adder((0, 0, 1))
    newest.publish({"default/m.tflite": file, "default/manifest.json": manifest(3, file, (0, 0, 0)).pack()})
    refused(behind, newest, "fails its golden examples: logits differ by 1, 0.001 allowed")


def test_a_model_that_failed_three_times_is_left_alone_until_there_is_another(behind, newest):
    file = adder((0, 0, 1))
    newest.publish({"default/m.tflite": file, "default/manifest.json": manifest(3, file, (0, 0, 0)).pack()})
    for _ in range(3):
        refused(behind, newest, "^the model fails its golden examples")
    refused(behind, newest, "failed here before and isn't tried again")
    newest.publish(release(4, (0, 0, 1)))
    assert fetched(behind, newest).manifest.version == 4


def test_a_model_that_is_refused_leaves_the_other_channels(behind, newest):
    """And each refused one is remembered by itself."""
    file = adder((0, 0, 1))
    for channel in ("default", "other"):
        bad = manifest(3, file, (0, 0, 0), channel).pack()
        newest.publish({f"{channel}/m.tflite": file, f"{channel}/manifest.json": bad})
    newest.publish(release(1, (0, 0, 7), "third"))
    source, root = Folder(newest.served), newest.first_root.read_bytes()
    for _ in range(3):
        with pytest.raises(UpdateFailed, match=r"^the model fails its golden .*; the model fails its golden"):
            update(behind, source, root, ["default", "other"])
    assert update(behind, source, root, ["default", "other", "third"]).manifest.channel == "third"
    with pytest.raises(UpdateFailed, match=r"^this version failed here before .*; this version failed here before"):
        update(behind, source, root, ["default", "other", "third"])
    assert behind.current().manifest.channel == "third"


def test_of_refused_models_the_last_few_are_remembered(behind):
    for number in range(20):
        for _ in range(3):
            behind.refuse(f"model{number}", "it fails")
    assert [bool(behind.refused(f"model{number}")) for number in range(20)] == [False] * 12 + [True] * 8


def test_golden_answers_that_are_not_finite_are_no_manifest(behind, newest):
    whole = release(3, (0, 0, 1))["default/manifest.json"]
    nan = base64.b64encode(np.full((4, 3), np.nan, "<f4").tobytes()).decode()
    for part in ("x", "logits"):
        fields = json.loads(whole)
        fields["golden"][part]["base64"] = nan
        newest.publish({"default/manifest.json": json.dumps(fields).encode()})
        refused(behind, newest, "golden examples and answers must be finite")


def test_a_model_that_is_too_large_is_not_fetched(behind, newest):
    refused(behind, newest, "bytes of flash, this device gives 100", flash_bytes=100)
    refused(behind, newest, "bytes of RAM, this device gives 10", ram_bytes=10)


def test_a_hub_that_is_away_changes_nothing(behind, newest):
    def away(path, data):
        raise DownloadError("connection refused")

    refused(behind, newest, "the hub can't be reached", away)


def test_a_hub_that_trickles_holds_nobody_up(behind, newest):
    refused(behind, newest, "the hub is too slow: .* not done after 0 s", seconds=0)


def test_an_interrupted_fetch_goes_on_where_it_stopped(behind, newest):
    """The link breaks after half of the model; the second half is all that is asked for next time."""
    half = len(adder((0, 1, 0))) // 2

    class Broken(Folder):
        def read(self, path, offset, seconds):
            start, chunks = super().read(path, offset, seconds)
            return start, self.cut(chunks) if path.endswith("m.tflite") and not offset else chunks

        def cut(self, chunks):
            yield next(chunks)[:half]
            raise DownloadError("connection reset")

    source = Broken(newest.served)
    found = update(behind, source, newest.first_root.read_bytes(), ["default"])
    assert found.manifest.version == 2
    assert [offset for path, offset in source.asked if path.endswith("m.tflite")] == [0, half]


def test_downloads_that_nobody_finishes_do_not_fill_the_disk(behind, newest):
    for number in range(5):
        part = behind.download / f"{number}.part"
        part.touch()
        os.utime(part, (number, number))
    assert fetched(behind, newest).manifest.version == 2
    assert sorted(path.name for path in behind.download.glob("*.part")) == ["3.part", "4.part"]


def test_keys_that_were_changed_are_believed_from_root_to_root(behind, newest):
    for role in ("timestamp", "targets", "root", "root", "snapshot"):
        newest.rotate(role)
    assert fetched(behind, newest).manifest.version == 2
