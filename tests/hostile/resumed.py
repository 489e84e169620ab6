"""Attacks on ``last.ckpt``, which a training run continues from."""

import zipfile

from . import pickles, tiny, zips
from .torch_files import members_of, saved

PICKLE = "archive/data.pkl"
PARTS = {
    "optimizer_states": [],
    "lr_schedulers": [],
    "loops": {},
    "callbacks": {},
    "pytorch-lightning_version": "2.6.0",
}


def genuine() -> bytes:
    return saved({"global_step": 3, "state_dict": tiny.state_dict(), "epoch": 1, **PARTS})


def checkpoints():
    """Checkpoints whose pickle does harm, whose steps are no number, or that are something else."""
    members = members_of(genuine())
    for intent, content, *_ in pickles.attacks(members[PICKLE], "epoch", calls=10):
        yield intent, zips.packed({**members, PICKLE: content})
    for steps in (None, "x", "3", [], {}, (), float("inf"), float("nan"), -1, 1 << 100, 3.5, True, b"3", {"x": 1}):
        yield f"steps {steps!r}", saved({"global_step": steps, "state_dict": {}, **PARTS})
    yield "no steps", saved({"epoch": 1})
    for intent, content in {
        "nothing": b"",
        "a zip": b"PK\x03\x04",
        "text": b"x" * 100,
        "a pickle": b"\x80\x02}.",
    }.items():
        yield intent, content
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        yield f"compressed by method {method}", zips.packed(members, method)
    yield "a program among the members", zips.packed({**members, "archive/constants.pkl": b"\x80\x02)."})
    for cut in range(0, len(genuine()), len(genuine()) // 30):
        yield f"cut after {cut} bytes", genuine()[:cut]
