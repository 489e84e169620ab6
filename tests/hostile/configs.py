"""Attacks on ``infer_cfg.yml`` of a deployed model, and on the receipts beside weight files."""

import hashlib
import json

from . import deployed, jsons, weights
from .attack import HARMLESS, READABLE, REFUSED, Attack, part
from .dangerous import DANGEROUS
from .texts import TEXTS

RECEIPT = "receipt.json"
WEIGHTS = "x.pdparams"
_FACTS = {
    "mode": "paddle",
    "arch": "HRNet",
    "Preprocess": [{"trainsize": [32, 32], "type": "TopDownEvalAffine"}, {"type": "Permute"}],
    "label_list": ["person"],
}


def genuine() -> dict[str, bytes]:
    return {**deployed.legacy(), deployed.CONFIG: deployed.config()}


def infer_configs():
    """Attacks on ``infer_cfg.yml``."""
    for intent, content, *outcome in _configs():
        raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        yield Attack(intent, {deployed.CONFIG: raw}, *outcome)
    yield Attack("two models in the folder", {"other.pdiparams": deployed.params(), "other.pdmodel": b""})


def _configs():
    for intent, altered in jsons.documents(_FACTS, long=False):
        yield intent, json.dumps(altered), READABLE
    base = deployed.config().decode()
    yield from _tags(base)
    yield from _sizes(base)
    yield from _yaml(base)


@part
def _tags(base):
    for number, (module, name, arguments) in enumerate(DANGEROUS):
        given = json.dumps([str(argument) for argument in arguments])
        tags = [f"!!python/object/apply:{module}.{name} {given}", f"!!python/object/new:{module}.{name} {given}"]
        tags += [
            f"!!python/name:{module}.{name} ''",
            f"!!python/object:{module}.{name} {{}}",
            f"!!python/module:{module} ''",
        ]
        yield f"{module}.{name} in another entry", f"{base}x: {tags[number % 5]}\n"
        yield f"{module}.{name} as everything", tags[(number + 1) % 5]
        yield f"{module}.{name} as the architecture", base.replace("arch: HRNet", f"arch: {tags[(number + 2) % 5]}")


@part
def _sizes(base):
    for size in (
        "[32]",
        "[32, 32, 32]",
        "[]",
        "32",
        "{}",
        "[[32], [32]]",
        "32.0",
        "[32.9, 32.9]",
        "[.inf, 32]",
        "[.nan, 32]",
        "null",
    ):
        yield f"a size of {size}", base.replace("[32, 32]", size), READABLE
    for side in (
        0,
        -32,
        1,
        31,
        33,
        48,
        4096,
        4097,
        8192,
        1 << 31,
        1 << 63,
        1 << 64,
        "1e9",
        "'32'",
        "0x20",
        "040",
        "1" * 5000,
        "1_0",
    ):
        for size in (f"[{side}, 32]", f"[32, {side}]", f"[{side}, {side}]"):
            yield f"a size of {size[:60]}", base.replace("[32, 32]", size), READABLE
        for key in ("target_size", "size"):
            yield f"a {key} of {str(side)[:60]}", base.replace("trainsize: [32, 32]", f"{key}: {side}"), READABLE


@part
def _yaml(base):
    merges = "a0: &a0 {x: 1}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 20)}]}}\n" for n in range(1, 9)
    )
    laughs = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    yield "merges that grow 20 times each", merges + base, READABLE
    yield "lists that grow nine times each", laughs + base, READABLE
    yield "lists that grow, as the steps", laughs + "arch: HRNet\nPreprocess: *a29\n", READABLE
    yield "lists that grow, as the architecture", laughs + "arch: *a29\n"
    yield "lists that grow, as the size", laughs + base.replace("[32, 32]", "*a29")
    yield "lists that grow, as a key", laughs + "? *a29\n: x\n" + base
    for entry in ("a: &a [*a]", "a: &a {x: *a}", "a: &a\n  - *a", "a: *nowhere", "a: &a &b x", "? &a [*a]\n: x"):
        yield f"the anchors {entry!r}", f"{entry}\n{base}", READABLE
    for depth in (50, 500, 5000, 30_000):
        for opening in ("[", "{a: ", "- ", "? ", "!!seq [", "&a ["):
            yield f"{depth} times {opening!r}", opening * depth
            yield f"{depth} times {opening!r} in another entry", f"{base}x: {opening * depth}"
    for intent, text in TEXTS.items():
        for number, quoted in enumerate((json.dumps(text), f"'{text}'", text)):
            if len(text) < 60_000:
                yield f"an architecture called {intent}, {number}", base.replace("HRNet", quoted)
                yield f"an entry called {intent}, {number}", f"{base}{quoted}: 1\n", READABLE
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "cp037", "utf-7"):
        yield f"the encoding {encoding}", base.encode(encoding), HARMLESS
    for size in (1 << 16, (1 << 16) + 1, 1 << 20, 20 << 20):
        outcome = HARMLESS if size == 1 << 16 else REFUSED
        yield f"{size} bytes", (base + "#" * size)[: size - 1] + "\n", outcome
    for number in (
        "0b1",
        "1_000",
        "1:30:30",
        "190:20:30.15",
        "2001-01-01",
        "9999-99-99",
        "!!int x",
        "!!float 1e9999",
        "!!binary x",
    ):
        yield f"the value {number}", f"{base}x: {number}\n", READABLE
    for tag in (
        "!x",
        "!!map []",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "!!pairs [a: 1]",
        "!!bool x",
        "!!null x",
        "!<tag:x> y",
        "!!timestamp x",
    ):
        yield f"the tag {tag}", f"{base}x: {tag}\n", READABLE
    for directive in (
        "%YAML 1.1\n---\n",
        "%YAML 9.9\n---\n",
        "%TAG ! tag:x,2000:\n---\n",
        "---\n---\n",
        "--- \n...\n",
        "\t",
        "\0",
        "\x85",
    ):
        yield f"the directive {directive!r}", directive + base, READABLE
    yield "arch twice", base + "arch: YOLO\n", READABLE
    yield "steps twice", base + "Preprocess: []\n", READABLE
    yield "a million sexagesimal digits", base + "x: " + "1:" * 20_000 + "1\n", READABLE
    yield "a number of 60,000 digits", base + "x: " + "1" * 60_000 + "\n", READABLE
    yield "another file", deployed.info()
    yield "nothing", ""
    yield "ten thousand entries", base + "".join(f"k{n}: 1\n" for n in range(6000)), READABLE
    yield "ten thousand anchors", base + "x: [" + ",".join(f"&a{n} 1" for n in range(6000)) + "]\n", READABLE
    for cut in range(0, len(base), 2):
        yield f"cut after {cut} characters", base[:cut], READABLE


def receipt_files() -> dict[str, bytes]:
    data = weights.genuine()
    return {WEIGHTS: data, RECEIPT: json.dumps(_receipt(data)).encode()}


def _receipt(data: bytes) -> dict:
    return {"configuration": {"model": "tiny_32x32"}, "sha256": hashlib.sha256(data).hexdigest(), "steps": 3}


def receipts():
    """Attacks on receipts: one that is none says nothing, so that the file is read as without it."""
    facts = _receipt(weights.genuine())
    conversion = {
        "model": "tiny_32x32",
        "source": {"sha256": facts["sha256"]},
        "converted": {"sha256": facts["sha256"]},
    }
    for kind, document in (("training", facts), ("conversion", conversion)):
        for intent, text, *_ in jsons.attacks(document):
            yield Attack(f"receipt of {kind}: {intent}", {RECEIPT: text.encode("utf-8", "surrogatepass")}, HARMLESS)
    yield from _large(facts)
    yield Attack("bytes that are not UTF-8", {RECEIPT: b'{"sha256": "\xff\xfe"}'}, HARMLESS)
    yield Attack("a receipt in UTF-16", {RECEIPT: json.dumps(facts).encode("utf-16")}, HARMLESS)
    other = {**facts, "configuration": {"model": "tinypose_128x96"}}
    yield Attack("a receipt of another model", {RECEIPT: json.dumps(other).encode()})


@part
def _large(facts):
    """Receipts that take time and memory."""
    for size in (1 << 20, 16 << 20, 4 << 20):
        lists = b'{"' + facts["sha256"].encode() + b'":[' + b"[]," * (size // 3 - 50) + b"[]]}"
        yield Attack(f"{size} bytes of empty lists", {RECEIPT: lists}, HARMLESS)
        yield Attack(f"{size} bytes of text", {RECEIPT: b'{"sha256":"' + b"x" * size + b'"}'}, HARMLESS)
    digest = facts["sha256"].encode()
    many = {f"n{number}.receipt.json": b'{"' + digest + b'":[' + b"[]," * 300_000 + b"[]]}" for number in range(150)}
    yield Attack("150 receipts of a megabyte", many, HARMLESS)
