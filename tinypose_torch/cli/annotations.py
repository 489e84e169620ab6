"""What `tinypose convert-annotations` and `tinypose prelabel` share: writing annotations in any format."""

from __future__ import annotations

from pathlib import Path

from tinypose_torch.data.formats.coco_content import Category, ImageAnnotations
from tinypose_torch.data.formats.registry import AnnotationFormat, list_annotation_formats
from tinypose_torch.utils.messages import escaped
from tinypose_torch.utils.outputs import check_output_folder, check_outputs

_FOLDERS = ("yolo",)


def target_format(name: str) -> AnnotationFormat:
    """The format of a name that can be written.

    Raises:
        ValueError: No format has the name, or it can only be read.
    """
    writable = [one for one in list_annotation_formats() if type(one).write is not AnnotationFormat.write]
    for candidate in writable:
        if candidate.name == name:
            return candidate
    raise ValueError(f"--to {name}; formats that can be written: {', '.join(one.name for one in writable)}")


def check_target(chosen: AnnotationFormat, output: str, inputs: tuple[str | None, ...], overwrite: bool) -> None:
    """Check the output of a command before its work begins.

    Raises:
        ValueError: It cannot be written, would replace an input, or holds something else.
    """
    if chosen.name not in _FOLDERS:
        check_outputs({"--output": output}, inputs, overwrite=overwrite)
        return
    check_output_folder("--output", output)
    if Path(output).is_dir() and any(Path(output).iterdir()) and not overwrite:
        raise ValueError(
            f"--output {output} is a folder with files; name another one, or write into it with --overwrite"
        )


def write_annotations(
    chosen: AnnotationFormat, images: list[ImageAnnotations], category: Category, output: str
) -> None:
    """Write, and print what was written and what was lost."""
    lost = chosen.write(images, category, Path(output))
    people = sum(len(image.people) for image in images)
    print(escaped(f"wrote {output}: {people} people in {len(images)} images, {len(category.keypoints)} keypoints"))
    if lost:
        print(f"{chosen.name} cannot express: {', '.join(lost)}")
