"""The LaSNN study's figures as Markdown, beside the paper's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from idsnn_convert.study.lasnn.plan import ARMS
from idsnn_convert.study.tables import claims_told, machine_told, spread

Result = Mapping[str, Any]
"""What :func:`idsnn_convert.study.lasnn.run.run_lasnn` gives."""


def markdown(result: Result, pictures: Sequence[str] = ()) -> str:
    """The whole page: what was run, the tables, what they say of the paper's claims, the machine."""
    student = result["student"]
    lines = [f"# LaSNN: spiking {student['target']} on {result['data']}", "", *_setting(result), ""]
    lines += [f"![Curves and spikes of the LaSNN study]({name})\n" for name in pictures]
    body = [*_table(result), "", *_followed(result), "", *_layers(result), ""]
    return "\n".join([*lines, *body, *claims_told(result), "", *machine_told(result)]) + "\n"


def _setting(result: Result) -> Iterator[str]:
    student, epochs, balance = result["student"], result["epochs"], result["balance"]
    width = "" if student["width"] == 1 else f", {student['width']:g} times as wide as the paper's"
    yield f"- student: {student['target']}{width}, trained for {epochs['ann']} epochs, converted by threshold balancing"
    shown = f"{balance['rule']}, {balance['images']:,} images, {balance['steps']:,} steps"
    yield f"  ({shown}), then {epochs['arms']} epochs of each arm"
    encoder = result["settings"]["network"]["encoder"]
    yield f"- T = {student['time_steps']}, {encoder} encoding, {result['normalisation']} normalisation"
    for name, teacher in result["teachers"].items():
        yield f"- teacher {name}: `{teacher['file']}`, {teacher['top1_percent']:.2f} %"
    yield f"- {result['train_images']:,} training images, drawn by the seed"
    yield f"- table: top-1 in percent of {result['test_images']:,} test images"
    yield f"- curves: {result['test_images_each_epoch']:,} test images, always the same, after each epoch"
    seeds = ", ".join(map(str, result["seeds"]))
    yield f"- seed {seeds}" if len(result["seeds"]) == 1 else f"- seeds {seeds}: mean ± deviation"
    yield "- paper: 100 steps of Poisson spikes, all images (Hong et al., arXiv 2304.09101, tables II and IV)"


def _table(result: Result) -> Iterator[str]:
    yield "| arm | teacher | top-1 | paper | spikes per neuron | seconds an epoch | MiB a step |"
    yield "|---|---|---|---|---|---|---|"
    for row in result["rows"]:
        cells = [ARMS[row["arm"]].label, row["teacher"] or "-", spread(row["top1"]), _number(row["paper_top1"], 2)]
        cells += [spread(row["spikes"]), _number(row["epoch_seconds"], 1), _number(row["step_mib"], 1)]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "Seconds of an epoch's training and evaluation; MiB of the tensors alive at once in one training step."


def _followed(result: Result) -> Iterator[str]:
    """The converted network step by step, at powers of two."""
    means, deviations = (result["converted_by_step"][key] for key in ("mean", "deviation"))
    steps = [t for t in (2**n for n in range(20)) if t <= len(means)]
    yield f"Converted only, after T steps of {len(means):,}:"
    yield ""
    yield f"| T | {' | '.join(f'{t:,}' for t in steps)} |"
    yield "|---" * (len(steps) + 1) + "|"
    told = (spread({"mean": means[t - 1], "deviation": deviations[t - 1]}) for t in steps)
    yield f"| top-1 | {' | '.join(told)} |"


def _layers(result: Result) -> Iterator[str]:
    """Spikes of each layer, as Fig. 7."""
    rows = [row for row in result["rows"] if row["layers"]]
    if not rows:
        return
    yield "Spikes per neuron over all steps, layer by layer:"
    yield ""
    yield f"| arm | teacher | {' | '.join(layer['layer'] for layer in rows[0]['layers'])} |"
    yield "|---" * (len(rows[0]["layers"]) + 2) + "|"
    for row in rows:
        counts = " | ".join(spread(layer["spikes"]) for layer in row["layers"])
        yield f"| {ARMS[row['arm']].label} | {row['teacher'] or '-'} | {counts} |"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
