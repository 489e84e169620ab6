"""Hundreds of attacks on every kind of file that weights are read from, through what a user's command calls.

Each attack ends with a result or with one line, in ten seconds of CPU time and within the file's size and 300 MB of memory, and
no file is created or changed. `FORMATS` says which attacks there are; each has an intent.
"""

import functools
import json
import pickle
import sys

import cv2
import numpy as np
import pytest

if sys.platform != "linux":
    pytest.skip("memory and time are bounded with Linux's means", allow_module_level=True)

from conftest import gradient_image

from convert.__main__ import main as convert
from tinypose_torch import CheckpointError, UnknownModelError
from tinypose_torch.cli import main as tinypose
from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime.metadata import ExportMetadata
from train.config import Config
from train.resuming import read_checkpoint

from . import jsons, pickle_parts, resumed, tiny, torch_files, values, weights
from .attack import HARMLESS, REFUSED, Attack, only_first
from .dangerous import DANGEROUS
from .formats import FORMATS
from .watch import LONGEST_MESSAGE, MARKER, Range, Workplace, bounded, check_message, distinct

ENOUGH = 400
QUICK = 4  # how many attacks of each kind are made in the quick tests
_EXPORTED_AT_LENGTH = ".pte"  # the slow tests have it

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    tiny.register(monkeypatch)
    return Workplace(tmp_path / "place", monkeypatch)


def feed(name, workplace):
    """Open every attack; returns the hashes of the files, and the messages."""
    for package in FORMATS[name].needs:
        pytest.importorskip(package)
    opened = Range(FORMATS[name], workplace)
    different, messages = set(), set()
    for attack in FORMATS[name].attacks():
        different.add(distinct(attack))
        messages.add(opened.feed(attack))
    return different, messages


@pytest.mark.parametrize("name", [name for name in FORMATS if name != _EXPORTED_AT_LENGTH])
def test_some_attacks(name, workplace):
    with only_first(QUICK):
        different, messages = feed(name, workplace)
    assert len(different) >= 2 * QUICK
    assert len(messages) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_all_attacks(name, workplace):
    different, messages = feed(name, workplace)
    assert len(different) >= ENOUGH
    assert len(messages) > 20


# --- the commands ---------------------------------------------------------------------------------------------------


def run_command(number, path, photo, capsys):
    """One of four commands with weights; returns its status and what it wrote to stderr."""
    network = ["--pose", tiny.NAME]
    commands = (
        (tinypose, ["predict", str(photo), "--detector", "none", *network, "--pose-weights", str(path)]),
        (tinypose, ["export", tiny.NAME, "--format", "torchscript", "--weights", str(path)]),
        (tinypose, ["evaluate", *network, "--weights", str(path), "--annotations", "notes.json", "--images", "."]),
        (convert, [str(path), "--model", tiny.NAME]),
    )
    main, arguments = commands[number % len(commands)]
    capsys.readouterr()
    status = main(arguments)
    return arguments[0], status, capsys.readouterr().err


def feed_commands(name, workplace, capsys, count):
    for package in FORMATS[name].needs:
        pytest.importorskip(package)
    opened = Range(FORMATS[name], workplace)
    photo = workplace.folder / "photo.png"
    cv2.imwrite(str(photo), gradient_image(64, 64))
    (workplace.folder / "cwd/notes.json").write_text("{}")
    attacks = [attack for attack in FORMATS[name].attacks() if attack.outcome == REFUSED]
    for number, attack in enumerate(attacks[:: max(1, len(attacks) // count)][:count]):
        workplace.put({**opened.files, **attack.files})
        before = workplace.snapshot()
        command, status, error = run_command(number, opened.path, photo, capsys)
        where = f"{command}, {attack.intent}: {error!r}"
        assert status == 2, where
        assert error.count("\n") == 1, where
        assert error[:-1].isprintable(), where
        assert str(opened.path) in error, where
        assert workplace.snapshot() == before, where


@pytest.mark.parametrize("name", [".pdparams", ".tar", "infer_cfg.yml"])
def test_commands_end_with_one_line(name, workplace, capsys):
    with only_first(QUICK):
        feed_commands(name, workplace, capsys, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_every_command_ends_with_one_line(name, workplace, capsys):
    feed_commands(name, workplace, capsys, 5)


def test_the_genuine_file_passes_the_commands(workplace, capsys):
    """With the same arguments; so they were right."""
    opened = Range(FORMATS[".pdparams"], workplace)
    photo = workplace.folder / "photo.png"
    cv2.imwrite(str(photo), gradient_image(64, 64))
    for number in (0, 1, 3):
        command, status, error = run_command(number, opened.path, photo, capsys)
        assert status == 0, (command, error)


# --- by what the attacks try ----------------------------------------------------------------------------------------


def test_the_attacks_work(workplace):
    """Python's own unpickler runs them."""
    marker = workplace.folder / "cwd" / MARKER
    for module, name in (("os", "system"), ("builtins", "eval"), ("io", "open"), ("pathlib", "Path.touch")):
        arguments = next(given for at, called, given in DANGEROUS if (at, called) == (module, name))
        call = (
            pickle_parts.value(module)
            + pickle_parts.value(name)
            + b"\x93"
            + pickle_parts.value(tuple(arguments))
            + b"R"
        )
        pickle.loads(b"\x80\x04" + call + b".")
        assert marker.exists(), (module, name)
        marker.unlink()


def test_a_hostile_file_is_noticed(workplace):
    """Readers that do what an attack wants fail here."""
    opened = Range(FORMATS[".pdparams"], workplace)
    genuine = opened.files["x.pdparams"]
    with pytest.raises(AssertionError, match="was read"):
        opened.feed(Attack("nothing", {"x.pdparams": genuine}))
    other = weights.dumped({name: array + 1 for name, array in tiny.paddle_state().items()})
    with pytest.raises(AssertionError, match="was read as something else"):
        opened.feed(Attack("other weights", {"x.pdparams": other}, HARMLESS))
    for wrong in (
        lambda: open(MARKER, "w").close(),
        lambda: pickle.loads(b"\x80\x02cos\nsystem\n."),
        lambda: bytearray(1 << 30),
    ):
        with pytest.raises((AssertionError, MemoryError)), bounded(0):
            wrong()


CONFIG = Config(model="tinypose_128x96")


def feed_checkpoints(workplace):
    """Open attacks on last.ckpt as `python -m train ... resume=true` does; returns how many."""
    path = workplace.inputs / "last.ckpt"
    path.write_bytes(resumed.genuine())
    assert read_checkpoint(path, CONFIG).steps == 3
    count = 0
    for intent, content in resumed.checkpoints():
        path.write_bytes(content)
        before, count = workplace.snapshot(), count + 1
        try:
            with bounded(len(content)):
                assert read_checkpoint(path, CONFIG).steps == 3, intent
        except CheckpointError as error:
            check_message(error, path)
        except BaseException as error:
            raise AssertionError(f"{intent}: {type(error).__name__}: {error}") from error
        assert workplace.snapshot() == before, intent
    return count


def test_some_checkpoints_to_resume_from(workplace):
    with only_first(QUICK):
        assert feed_checkpoints(workplace) >= 30


@pytest.mark.slow
def test_checkpoints_to_resume_from(workplace):
    assert feed_checkpoints(workplace) >= ENOUGH


@pytest.mark.parametrize("model", ["picodet_s_192_lcnet_pedestrian", "ppyolov2_r50vd_dcn", "higherhrnet_w32_512"])
@pytest.mark.slow
def test_descriptions_of_other_tasks(model):
    """Detectors and bottom-up networks have entries that the pose network above lacks."""
    metadata = ExportMetadata(get_config(model), True, False, 1, "fp32", {})
    facts = json.loads(metadata.to_json())
    assert ExportMetadata.from_json(metadata.to_json()) == metadata
    messages, count = [], 0
    for _, text, *_ in jsons.attacks(facts, first_of_lists=1):
        count += 1
        with bounded(len(text)):
            try:
                ExportMetadata.from_json(text)
            except (CheckpointError, UnknownModelError) as error:
                messages.append(str(error))
    assert [message for message in messages if not message.isprintable() or len(message) > LONGEST_MESSAGE] == []
    assert len(messages) > count / 2
    assert count >= ENOUGH


def test_there_are_impossible_weights_enough():
    """The attacks on each format have them."""
    state = tiny.paddle_state()
    assert len([*values.impossible_values(state)]) > 70
    for kind in ("not a number", "infinite as float32", "values of int32", "values of bool", "a variance of -1.0"):
        assert any(kind in intent for intent, _ in values.impossible_values(state))


@functools.cache
def _programs_as_weights():
    """TorchScript programs, whole and in pieces, under names of weights."""
    from .exported import torchscript_members
    from .zips import packed

    members = torchscript_members()
    for suffix in (".pdparams", ".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".zip", ".tar", ".weights", ""):
        yield f"a program called x{suffix}", f"x{suffix}", packed(members)
        mixed = packed(
            {**torch_files.members(), **{name: content for name, content in members.items() if "data.pkl" not in name}}
        )
        yield f"weights with the code of a program, called x{suffix}", f"x{suffix}", mixed
        renamed = packed({name.replace("constants.pkl", "other.pkl"): content for name, content in members.items()})
        yield f"a program without its constants, called x{suffix}", f"x{suffix}", renamed


def test_programs_with_the_name_of_weights(workplace):
    """None of thirty is opened by torch."""
    from .watch import open_runner

    attacks = [*_programs_as_weights()]
    assert len(attacks) == 30
    for intent, name, content in attacks:
        workplace.put({name: content})
        path = workplace.inputs / name
        with bounded(len(content)), pytest.raises(CheckpointError) as caught:
            open_runner(path)
        check_message(caught.value, path)
        assert np.isfinite(len(intent))
