"""The report of a keypoint evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tinypose_torch.evaluation.report import charts
from tinypose_torch.evaluation.report.images import worst_and_best
from tinypose_torch.evaluation.report.matching import KeypointEvaluation, match_people
from tinypose_torch.evaluation.report.page import Section, facts_table, image_pairs, table, write_page
from tinypose_torch.evaluation.report.statistics import (
    ErrorSummary,
    keypoint_groups,
    pck_curve,
    summarize_errors,
    summarize_groups,
)


def accuracy_section(accuracy: Mapping[str, float]) -> Section:
    """The figures that `tinypose evaluate` prints."""
    rows = [(name, "-" if value < 0 else f"{value:.3f}") for name, value in accuracy.items()]
    return Section("Accuracy", table(rows, ("figure", "value")))


def keypoint_sections(evaluation: KeypointEvaluation, progress: Callable[[int], object] | None = None) -> list[Section]:
    """Charts, tables and images of an evaluation.

    Args:
        progress: Called with 1 after every keypoint.

    Raises:
        ValueError: No annotated person counts.
    """
    matches, names = match_people(evaluation), evaluation.skeleton.keypoint_names
    errors, aps = matches.errors, []
    for index in range(len(names)):
        aps.append(evaluation.keypoint_ap(index))
        if progress is not None:
            progress(1)
    groups = keypoint_groups(evaluation.skeleton)
    curves = {"all": pck_curve(errors), **{name: pck_curve(errors[:, some]) for name, some in groups.items()}}
    by_keypoint = [summarize_errors(errors[:, index]) for index in range(len(names))]
    worst, best = worst_and_best(evaluation, matches)
    missed = int((matches.oks == 0).sum())
    return [
        Section(
            "Keypoints", charts.keypoint_chart(names, aps, by_keypoint), "Errors: the median (dark), and 90 % (light)."
        ),
        Section("PCK", charts.pck_chart(curves), "Percentage of labelled keypoints within a distance."),
        Section(
            "OKS of people",
            charts.histogram(matches.oks, "object keypoint similarity"),
            f"{len(matches)} annotated people, {missed} of them missed (0).",
        ),
        _errors_section(summarize_groups(matches)),
        Section("Worst images", image_pairs(worst), "Annotated on the left, predicted on the right.", wide=True),
        Section("Best images", image_pairs(best), wide=True),
    ]


def _errors_section(summaries: Mapping[str, ErrorSummary]) -> Section:
    header = ("", "labelled", "median", "90 %", charts.describe_pck())
    rows = [
        (name, str(one.count), _percent(one.median), _percent(one.p90), f"{one.pck:.3f}" if one.count else "-")
        for name, one in summaries.items()
    ]
    return Section(
        "Errors by size and visibility",
        table(rows, header),
        "Errors in % of the box's longer side; sizes are areas in square pixels.",
    )


def _percent(value: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{100 * value:.1f}" if np.isfinite(value) else "missed"


def write_report(
    path: Path, evaluation: KeypointEvaluation, accuracy: Mapping[str, float], facts: Mapping[str, object]
) -> None:
    """Write the page of an evaluation.

    Args:
        accuracy: Figures by name.
        facts: What else the page says of the evaluation; ``None``, the figures and lists are left out.

    Raises:
        ValueError: No annotated person counts.
        OutputError: The file cannot be written.
    """
    shown = {
        name.replace("_", " "): str(value)
        for name, value in facts.items()
        if name not in accuracy and value is not None and not isinstance(value, list)
    }
    with tqdm(total=len(evaluation.skeleton), desc="report", unit="keypoint", disable=None) as bar:
        sections = keypoint_sections(evaluation, bar.update)
    about = Section("Evaluation", facts_table(shown))
    write_page(path, f"Accuracy of {facts['model']}", [accuracy_section(accuracy), about, *sections])
