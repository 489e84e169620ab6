"""Descriptions of exported files: they come back as they were, and changed ones are refused in one line."""

import dataclasses
import json

from hypothesis import strategies as st

from properties.checks import check_refusal, holds, mutated, odd_values
from tinypose_torch import list_models
from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.data.formats.coco import skeleton_of_names
from tinypose_torch.models.config import DetectorConfig
from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime.metadata import ExportMetadata, describe_methods, read_methods

words = st.text("abcdefLR_0123 éß名-./()\"'\\", min_size=1, max_size=20)
sizes = st.integers(1, 64).map(lambda count: 32 * count)


@st.composite
def skeletons(draw):
    names = draw(st.lists(words, min_size=1, max_size=20, unique=True))
    indices = st.integers(0, len(names) - 1)
    links = draw(st.lists(st.tuples(indices, indices), max_size=10))
    sigmas = draw(st.just([]) | st.lists(st.floats(0.001, 10), min_size=len(names), max_size=len(names)))
    return skeleton_of_names(draw(words), names, links, sigmas)


@st.composite
def descriptions(draw):
    entry = get_config(draw(st.sampled_from(list_models())))
    changes = {"input_size": (draw(sizes), draw(sizes))}
    changes |= {"mean": tuple(draw(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3)))}
    changes |= {"std": tuple(draw(st.lists(st.floats(1e-6, 1e6), min_size=3, max_size=3)))}
    if isinstance(entry, DetectorConfig):
        changes |= {"class_names": tuple(draw(st.lists(words, min_size=1, max_size=8)))}
        changes |= {"person_class": draw(st.none() | st.integers(0, len(changes["class_names"]) - 1))}
    else:
        changes |= {"skeleton": draw(skeletons()), "keypoint_threshold": draw(st.floats(0, 1))}
    return ExportMetadata(
        dataclasses.replace(entry, **changes),
        takes_images=draw(st.booleans()),
        decodes=draw(st.booleans()) and entry.task == "pose",
        batch=draw(st.none() | st.integers(1, 64)),
        precision=draw(st.sampled_from(["fp32", "fp16", "int8"])),
        versions=draw(st.dictionaries(words, words, max_size=4)),
    )


@holds(metadata=descriptions())
def test_descriptions_come_back(metadata):
    assert ExportMetadata.from_json(metadata.to_json()) == metadata
    assert read_methods(describe_methods({"one": metadata, "two": metadata})) == {"one": metadata, "two": metadata}


@holds(many=200, data=st.data(), model=st.sampled_from(list_models()))
def test_changed_descriptions(data, model):
    sound = json.loads(ExportMetadata(get_config(model), True, False, 1, "fp32", {"torch": "2"}).to_json())
    content = data.draw(mutated(sound))
    try:
        metadata = ExportMetadata.from_json(json.dumps(content))
    except CheckpointError as error:
        check_refusal(error)
        return
    assert ExportMetadata.from_json(metadata.to_json()) == metadata


@holds(content=odd_values | st.text('{}[]":,0 .e-+tfnul', max_size=30).map(lambda text: text))
def test_any_content(content):
    for text in (json.dumps(content), content if isinstance(content, str) else "", json.dumps({"format": content})):
        for read in (ExportMetadata.from_json, read_methods):
            try:
                read(text)
            except CheckpointError as error:
                check_refusal(error)
            else:
                raise AssertionError(f"{text} is no description")
