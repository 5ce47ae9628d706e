"""A study's figures as Markdown, beside the paper's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from idsnn_convert.study.paper import CONVERGENCE, OVERTAKES
from idsnn_convert.study.plan import ARMS, LONGEST

Result = Mapping[str, Any]
"""What :func:`idsnn_convert.study.run.run_study` gives."""

MARK = {True: "yes", False: "no"}


def markdown(result: Result, pictures: Sequence[str] = ()) -> str:
    """The whole page: what was run, the table, what it says of the paper's claims, the machine."""
    body = _ablation(result) if result["study"] == "ablation" else _convergence(result)
    lines = [f"# {result['study'].capitalize()}: {_title(result)}", "", *_setting(result), ""]
    lines += [f"![Curves of the {result['study']} study]({name})\n" for name in pictures]
    return "\n".join([*lines, *body, "", *claims_told(result), "", *machine_told(result)]) + "\n"


def _title(result: Result) -> str:
    return f"{result['teacher']['arch']} -> spiking {result['student']['target']} on {result['data']}"


def _setting(result: Result) -> Iterator[str]:
    teacher, student = result["teacher"], result["student"]
    epochs = ", ".join(f"{name} {schedule['epochs']}" for name, schedule in result["schedules"].items())
    yield f"- teacher: `{teacher['file']}`, {teacher['top1_percent']:.2f} % of all test images"
    yield f"- student: spiking {student['target']}, T = {student['time_steps']}"
    yield f"- {result['train_images']:,} training images, drawn by the seed; recipe `{result['recipe']}`; epochs: {epochs}"
    at_the_end = f"; table: the last network on all {images:,}" if (images := result["runs"][0]["images"]) else ""
    yield f"- curves: {result['test_images_each_epoch']:,} test images, always the same, after each epoch{at_the_end}"
    seeds = ", ".join(map(str, result["seeds"]))
    yield (
        f"- seed {seeds}; top-1 in percent"
        if len(result["seeds"]) == 1
        else f"- seeds {seeds}: mean ± deviation; top-1 in percent"
    )
    yield "- paper: ResNet-34 -> spiking ResNet-18, 200 epochs, all images (Fan et al. 2023)"


def _ablation(result: Result) -> Iterator[str]:
    yield "| initialisation | distillation | top-1 | gain | paper | paper's gain |"
    yield "|---|---|---|---|---|---|"
    for row in result["rows"]:
        arm = ARMS[row["arm"]]
        ours = f"{spread(row['top1'])} | {spread(row['gain'], '+')}"
        theirs = f"{_plain(row['paper_top1'])} | {_plain(row['paper_gain'], '+')}"
        yield f"| {MARK[arm.initialised]} | {MARK[arm.distilled]} | {ours} | {theirs} |"


def _convergence(result: Result) -> Iterator[str]:
    yield "| schedule | arm | best top-1 (epoch) | last top-1 | paper's best (epoch) |"
    yield "|---|---|---|---|---|"
    for row in result["rows"]:
        said = "-" if row["paper_top1"] is None else f"{row['paper_top1']:.2f} ({row['paper_epoch']})"
        ours = f"{spread(row['best_top1'])} ({row['best_epoch']}) | {spread(row['last_top1'])}"
        yield f"| {_schedule(result, row['schedule'])} | {ARMS[row['arm']].label} | {ours} | {said} |"
    yield ""
    yield "How soon the best of `neither` is reached (mean curves):"
    yield ""
    yield "| best of neither | arm, schedule | reached after | sooner by |"
    yield "|---|---|---|---|"
    for row in result["sooner"]:
        of = f"{row['best_top1']:.2f} in epoch {row['best_epoch']}, {_schedule(result, row['of'])}"
        arm = f"{ARMS[row['arm']].label}, {_schedule(result, row['schedule'])}"
        yield f"| {of} | {arm} | {_reached(row)} |"
    yield ""
    if (soonest := result["soonest"]) is not None:
        yield (
            f"IDSNN reaches the best of neither, {soonest['best_top1']:.2f} in epoch {soonest['best_epoch']}, after "
            f"{_epochs(soonest['epoch'])} of the {soonest['schedule']} schedule: {_epochs(soonest['epochs_sooner'])} sooner, "
            f"{soonest['times']:.3g} times. An epoch is the finest step seen here."
        )
        yield ""
    theirs = CONVERGENCE["cifar100"][LONGEST]["neither"]
    yield (
        f"In the paper, on CIFAR-100, neither reaches {theirs.top1} in epoch {theirs.epoch} of the long schedule, IDSNN "
        f"{OVERTAKES.top1} in epoch {OVERTAKES.epoch} of the short one: 14 times."
    )


def _schedule(result: Result, name: str) -> str:
    return f"{name} ({_epochs(result['schedules'][name]['epochs'])})"


def _epochs(count: int) -> str:
    return f"{count} epoch" if count == 1 else f"{count} epochs"


def _reached(row: Mapping[str, Any]) -> str:
    if row["epoch"] is None:
        return "not reached | -"
    sooner = f"{_epochs(row['epochs_sooner'])}, {row['times']:.3g} times" if row["epochs_sooner"] else "the same epoch"
    return f"{_epochs(row['epoch'])} | {sooner}"


def claims_told(result: Result) -> Iterator[str]:
    if not result["claims"]:
        return
    yield "## What the paper says, here"
    yield ""
    yield "| claim | difference in points | seeds that agree | verdict |"
    yield "|---|---|---|---|"
    for claim in result["claims"]:
        seeds = f"{claim['seeds_for']} of {claim['seeds']}"
        yield f"| {claim['claim']} | {spread(claim['by_points'], '+')} | {seeds} | {claim['verdict']} |"


def machine_told(result: Result) -> Iterator[str]:
    machine, minutes = result["machine"], sum(run["seconds"] for run in result["runs"]) / 60
    gpus = ", ".join(gpu["name"] for gpu in machine["gpus"]) or "no GPU"
    yield f"{len(result['runs'])} runs, {minutes:.0f} minutes of training and evaluation;"
    yield f"{machine['threads']} of {machine['cpus']} CPU threads, {gpus};"
    yield f"torch {machine['torch']}, Python {machine['python']}, idsnn-convert {machine['idsnn_convert']}."


def spread(found: Mapping[str, Any] | None, sign: str = "") -> str:
    """``57.40 ± 2.20``; the mean alone of a single seed, a dash for nothing."""
    if found is None:
        return "-"
    mean = _plain(found["mean"], sign)
    return mean if found["deviation"] is None else f"{mean} ± {found['deviation']:.2f}"


def _plain(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.2f}"
