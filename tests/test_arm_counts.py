"""`python -m benchmarks.arm`: instructions that exported files execute on ARM."""

import json

import pytest
from conftest import ROOT
from export.conftest import DETECTOR, POSE, exported  # noqa: F401  (a fixture)
from filelock import FileLock

from benchmarks.arm.__main__ import main
from benchmarks.arm.counting import measure
from benchmarks.arm.instructions import CLASSES, bytes_moved, instruction_class, multiplications
from benchmarks.arm.toolchain import ToolchainError, missing_packages, prepare

BASELINE = json.loads((ROOT / "benchmarks/arm/baseline.json").read_text())


@pytest.mark.parametrize(
    ("text", "kind", "multiplied", "moved"),
    [
        ("fmla v0.4s, v1.4s, v2.s[0]", "FMLA", 4, 0),
        ("fmla v0.8h, v1.8h, v2.h[0]", "FMLA", 8, 0),
        ("fmadd s0, s1, s2, s3", "FMLA", 1, 0),
        ("sdot v0.4s, v1.16b, v2.4b[0]", "dot product", 16, 0),
        ("ldr q0, [x1], #16", "load", 0, 16),
        ("ldp x1, x2, [x3]", "load", 0, 16),
        ("ldp q1, q2, [x3], #32", "load", 0, 32),
        ("ldrb w1, [x2]", "load", 0, 1),
        ("ldrsw x1, [x2]", "load", 0, 4),
        ("ld1 { v1.4s, v2.4s }, [x3]", "load", 0, 32),
        ("ld1 { v1.4s - v4.4s }, [x3]", "load", 0, 64),
        ("ld1r { v1.4s }, [x3]", "load", 0, 4),
        ("st1 { v1.s }[2], [x3]", "store", 0, 4),
        ("stp q1, q2, [x3], #32", "store", 0, 32),
        ("prfm pldl1keep, [x3]", "load", 0, 0),
        ("fcvtn v0.4h, v1.4s", "conversion", 0, 0),
        ("scvtf v0.4s, v1.4s", "conversion", 0, 0),
        ("b.lo #-44", "branch", 0, 0),
        ("ret", "branch", 0, 0),
        ("fmax v0.4s, v1.4s, v2.4s", "vector", 0, 0),
        ("add x0, x1, x2", "integer", 0, 0),
        ("sub x0, x1, #8", "integer", 0, 0),
        ("bic w0, w1, w2", "integer", 0, 0),
    ],
)
def test_instructions(text, kind, multiplied, moved):
    assert instruction_class(text) == kind
    assert kind in CLASSES
    assert multiplications(text) == multiplied
    assert bytes_moved(text) == moved


def test_a_file_that_is_missing(tmp_path, capsys):
    assert main([str(tmp_path / "x.pte")]) == 2
    assert capsys.readouterr().err == f"arm: error: {tmp_path}/x.pte is no file; expected an ExecuTorch file\n"


def test_packages_that_are_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "x.pte").touch()
    assert main([str(tmp_path / "x.pte"), "--tools", str(tmp_path / "tools")]) == 2
    error = capsys.readouterr().err
    assert "qemu-user" in error
    assert "apt-get install" in error


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    if missing := missing_packages():
        pytest.skip(f"{', '.join(missing)} not installed")
    folder = tmp_path_factory.mktemp("arm")
    with FileLock(folder.parent / "arm.lock"):
        try:
            return prepare(folder)
        except ToolchainError as error:
            pytest.skip(f"nothing to count with: {error}")


@pytest.mark.slow
@pytest.mark.parametrize("network", BASELINE["instructions"])
def test_no_file_executes_more(network, tools, exported):  # noqa: F811
    """Counts are the same on every machine. Lower the baseline after a change that saves instructions."""
    name, precision, method = network.split()
    options = {} if precision == "fp32" else {"precision": precision}
    path = exported({"pose": POSE, "detect": DETECTOR}[name], "executorch", **options)
    found = measure([tools.runner, path, method], "neoverse-n1", tools, with_cycles=False).total.instructions
    assert found <= 1.02 * BASELINE["instructions"][network]
