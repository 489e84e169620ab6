"""Runs on a file system that is full after so many bytes: `fill_disks.py FOLDER ARGUMENTS ...`.

Where no file system can be mounted, the size of every file is limited instead.
"""

import random
import resource
import subprocess
import sys
from pathlib import Path

from tests.training.forked import start, steps_of, wait

FOLDER, ARGUMENTS = Path(sys.argv[1]), sys.argv[2:]
DISK, LOG = FOLDER / "disk", FOLDER / "log"
OPTIONS = [*ARGUMENTS, f"output={DISK / 'run'}"]
REASONS = ("the disc is full", "the file would be larger than the file system or the process's limit")


def mount(*options):
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(DISK)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def check(size, mounted, continues):
    """Run with so many bytes, then with enough where it ``continues``."""
    if mounted:
        assert mount(f"size={size}")
    else:
        DISK.mkdir(exist_ok=True)
    try:
        before = (lambda: None) if mounted else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        status = wait(start(OPTIONS, LOG, before))
        lines = [line for line in LOG.read_text().splitlines() if not line.startswith("step ")]
        assert "Traceback" not in LOG.read_text()
        if status == 0:
            return print("enough", size, flush=True)
        (line,) = lines
        assert status in (1, 2), line
        assert line.startswith("train: error: "), line
        assert str(DISK / "run") in line, line
        assert any(reason in line for reason in REASONS), line
        assert not list(DISK.rglob("*tinypose-tmp*")), "half a file is left"
        steps = steps_of(DISK / "run", OPTIONS)
        assert not steps or "resume=true" in line
        if continues:
            assert not mounted or mount("remount", "size=200m")
            assert wait(start([*OPTIONS, f"resume={bool(steps)}"], LOG)) == 0, LOG.read_text()
            assert steps_of(DISK / "run", OPTIONS) == 2
        print("full", size, line.partition(str(DISK))[2].partition(":")[0], flush=True)
    finally:
        if mounted:
            subprocess.run(["umount", str(DISK)], check=True)
        else:
            subprocess.run(["rm", "-r", str(DISK)], check=True)


if __name__ == "__main__":
    DISK.mkdir()
    mounted = mount("size=1m")
    if mounted:
        subprocess.run(["umount", str(DISK)], check=True)
    generator = random.Random(0)
    small = [4096 * pages for pages in range(1, 6)] if mounted else [100, 1000, 2000]
    most = 40_000_000 if mounted else 17_000_000
    sizes = [*small, *(generator.randrange(0, most, 4096) + 4096 for _ in range(24 - len(small)))]
    for index, size in enumerate(sizes):
        check(size, mounted, index % 5 == 0)
