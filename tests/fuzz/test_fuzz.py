"""Every reader against mutated files: each ends with a result or a CheckpointError, quickly and within memory.

`python -m fuzz.run READER SECONDS` in the folder tests runs one reader for longer.
"""

import sys
import time

import pytest

if sys.platform != "linux":
    pytest.skip("memory and time are bounded with Linux's means", allow_module_level=True)

from hostile.watch import Workplace

from fuzz.corpus import READERS
from fuzz.mutations import fuzz, limited_memory, mutated


@pytest.mark.parametrize("name", READERS)
def test_mutated_files(name):
    read, seeds, pieces = READERS[name]
    outcome = fuzz(name, read, seeds(), pieces, seconds=0.5)
    assert outcome.refused > 10  # the unchanged files, which `fuzz` feeds first, are read


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_20_000_mutated_files(name, tmp_path, monkeypatch):
    """Others in every run; no file is created or changed in the working directory, HOME or TMPDIR."""
    read, seeds, pieces = READERS[name]
    workplace = Workplace(tmp_path / "place", monkeypatch)
    before = workplace.snapshot()
    outcome = fuzz(name, read, seeds(), pieces, count=20_000, first=time.time_ns())
    assert outcome.read + outcome.refused == 20_000
    assert workplace.snapshot() == before


def _runs_out_of_memory(data):
    bytearray(1 << 30)


def _escapes(data):
    raise KeyError("area")


@pytest.mark.parametrize(("read", "message"), [(_runs_out_of_memory, "MemoryError"), (_escapes, "KeyError: 'area'")])
def test_the_fuzzer_notices(read, message):
    calls = iter(range(100))
    with pytest.raises(AssertionError, match=message):
        fuzz("x", lambda data: None if next(calls) == 0 else read(data), [b"genuine"], (), seconds=1)


def test_a_number_makes_the_same_file_again():
    import random

    one, two = (mutated(random.Random("x 5"), [b"genuine" * 9], (b"piece",)) for _ in range(2))
    assert one == two
    with limited_memory(1 << 30):
        pass
