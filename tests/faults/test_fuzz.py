"""A million mutated payloads, and the memory of a process that decodes the worst."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedkd.exchange.codec import largest
from tests.exchange.test_fuzz import WIDE, hostile
from tests.fuzz import fuzz

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]


def test_a_million_mutants_are_refused_or_valid_updates_and_never_crash(reached):
    started = time.process_time()
    taken, others = fuzz(1_000_000, seed=0)
    reached("a million mutants, s of CPU", time.process_time() - started)
    reached("mutants accepted, all of them valid updates", f"{taken}, {others} of these unlike any original")
    assert 0 < others <= taken < 200_000


# Linux forgets a process's peak where 5 is written to clear_refs, and VmHWM says the one since.
CHILD = """
import sys
from pathlib import Path
from fedkd.exchange.blob import PayloadError
from fedkd.exchange.codec import decode
from tests.exchange.test_fuzz import WIDE
from tests.fuzz import HEADER, originals

def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

for path in sys.argv[1:]:
    blob = Path(path).read_bytes()
    for _ in range(2):  # the first time, code is loaded
        Path("/proc/self/clear_refs").write_text("5")
        before = kilobytes("VmRSS")
        try:
            decode(blob, WIDE, None, HEADER)
        except PayloadError:
            pass
        grown = kilobytes("VmHWM") - before
    print(1024 * grown)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_memory_of_the_process_grows_by_twice_the_largest_update_at_most(tmp_path, reached):
    paths = []
    for i, (_, blob) in enumerate(hostile()):
        paths.append(tmp_path / str(i))
        paths[-1].write_bytes(blob)
    # Or else freed blocks stay with the process, and what it takes again doesn't show.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", CHILD, *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shares = {name: int(n) / largest(WIDE) for (name, _), n in zip(hostile(), done.stdout.split(), strict=True)}
    reached("memory a blob takes, in sizes of the largest update", max(shares.values()))
    assert 1 < max(shares.values()) <= 2 + 2**18 / largest(WIDE), shares
