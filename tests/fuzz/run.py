"""Fuzz one reader, or all: `python -m fuzz.run [READER|all] [SECONDS]`, in the folder tests."""

import sys
import time

from fuzz.corpus import READERS
from fuzz.mutations import fuzz

if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else "all"
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60
    for name, (read, seeds, pieces) in READERS.items():
        if chosen in ("all", name):
            began = time.process_time()
            done = fuzz(name, read, seeds(), pieces, seconds, first=time.time_ns())
            rate = (done.read + done.refused) / (time.process_time() - began)
            print(f"{name}: {done.read} read, {done.refused} refused, {rate:.0f} per second of CPU time", flush=True)
