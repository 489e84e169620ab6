"""Coverage-guided fuzzing of one reader with atheris (`pip install atheris`, Linux, Python 3.11 to 3.13).

    PYTHONPATH=.:tests python tests/fuzz/fuzz_readers.py READER FOLDER -max_total_time=300

READER is a name in `fuzz.corpus.READERS`. FOLDER receives the genuine files, and those that reach new code. Options of libFuzzer may follow.
"""

import hashlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tinypose_torch.checkpoints", "tinypose_torch.runtime.metadata"]):
    from fuzz.corpus import READERS

from tinypose_torch import CheckpointError


def main():
    name, folder = sys.argv[1], Path(sys.argv[2])
    read, seeds, _ = READERS[name]
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds():
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)

    def read_one(data):
        try:
            read(data)
        except CheckpointError as error:
            assert str(error).isprintable()  # noqa: PT017

    limits = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=20000"]
    atheris.Setup([sys.argv[0], *limits, str(folder), *sys.argv[3:]], read_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
