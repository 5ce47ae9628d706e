"""From the runs of a study to its figures: means over seeds, what each arm gains, who gets where sooner."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from idsnn_convert.study import paper
from idsnn_convert.study.outcome import Outcome
from idsnn_convert.study.plan import ARMS, LONGEST, Scale

Groups = Mapping[tuple[str, str], Sequence[Outcome]]
"""(schedule, arm) -> its runs, one a seed, in the order of the plan."""


def summarised(study: str, scale: Scale, found: Sequence[Outcome], data: str) -> dict[str, Any]:
    """All figures of a study, JSON-native; accuracies in percent, epochs counted from 1."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for one in found:
        groups.setdefault((one.schedule, one.arm), []).append(one)
    made = _ablation(groups, data) if study == "ablation" else _convergence(groups, scale, data)
    curves = [
        {"schedule": schedule, "arm": arm, "top1": by_epoch(runs, "curve"), "train_ce": by_epoch(runs, "train_ce")}
        for (schedule, arm), runs in groups.items()
    ]
    return {"seeds": sorted({one.seed for one in found}), **made, "curves": curves, "runs": [one.to_json() for one in found]}


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Mean and deviation (with n - 1; None of a single seed) of one figure a seed."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "deviation": deviation, "by_seed": list(values)}


def by_epoch(runs: Sequence[Outcome], what: str) -> dict[str, list[Any]]:
    """Mean and deviation over seeds of each epoch, two lists (epochs,)."""
    found = [over_seeds(values) for values in zip(*(getattr(run, what) for run in runs), strict=True)]
    return {"mean": [each["mean"] for each in found], "deviation": [each["deviation"] for each in found]}


def _ablation(groups: Groups, data: str) -> dict[str, Any]:
    """Table 3: the last network of each arm on all test images, and its gain over ``neither``, paired by seed."""
    finals = {arm: [_measured(run) for run in groups[LONGEST, arm]] for arm in ARMS if (LONGEST, arm) in groups}
    theirs = paper.ABLATION.get(data, {})
    rows = []
    for arm, values in finals.items():
        row: dict[str, Any] = {"arm": arm, "top1": over_seeds(values), "paper_top1": None, "gain": None, "paper_gain": None}
        if arm in theirs:
            row["paper_top1"] = theirs[arm].top1
        if arm != "neither" and "neither" in finals:
            row["gain"] = _gain(values, finals["neither"])
            row["paper_gain"] = theirs[arm].top1 - theirs["neither"].top1 if arm in theirs else None
        rows.append(row)
    asked = [("init", "neither"), ("kd", "neither"), ("both", "init"), ("both", "kd")]
    claims = [
        compared(f"{ARMS[a].label} is better than {ARMS[b].label}", finals[a], finals[b])
        for a, b in asked
        if a in finals and b in finals
    ]
    return {"rows": rows, "claims": claims}


def _measured(run: Outcome) -> float:
    if run.final is None:
        raise ValueError(f"{run.arm}, seed {run.seed}: the last network was not measured")
    return run.final


def _gain(values: Sequence[float], over: Sequence[float]) -> dict[str, Any]:
    return over_seeds([mine - other for mine, other in zip(values, over, strict=True)])


def compared(what: str, better: Sequence[float], worse: Sequence[float]) -> dict[str, Any]:
    """A statement of the paper's, held against these runs: it holds if it does for every seed, fails if for none."""
    gain = _gain(better, worse)
    seeds = sum(each > 0 for each in gain["by_seed"])
    verdict = {len(better): "holds", 0: "fails"}.get(seeds, "undecided")
    return {"claim": what, "verdict": verdict, "seeds_for": seeds, "seeds": len(better), "by_points": gain}


def _convergence(groups: Groups, scale: Scale, data: str) -> dict[str, Any]:
    """Table 4: the best epoch of each arm's mean curve in each schedule; and how soon ``neither`` is overtaken."""
    theirs = paper.CONVERGENCE.get(data, {})
    rows = []
    for (schedule, arm), runs in groups.items():
        _, epoch = _best(by_epoch(runs, "curve")["mean"])
        said = theirs.get(schedule, {}).get(arm)
        rows.append(
            {
                "schedule": schedule,
                "epochs": scale.schedules[schedule].epochs,
                "arm": arm,
                "best_top1": over_seeds([run.curve[epoch - 1] for run in runs]),
                "best_epoch": epoch,
                "last_top1": over_seeds([run.curve[-1] for run in runs]),
                "paper_top1": said and said.top1,
                "paper_epoch": said and said.epoch,
            }
        )
    found = sooner(groups, scale)
    reached = [row for row in found if row["arm"] == "both" and row["of"] == LONGEST and row["epoch"] is not None]
    soonest = min(reached, key=lambda row: row["epoch"], default=None)
    return {"rows": rows, "sooner": found, "soonest": soonest, "claims": list(_convergence_claims(groups, scale))}


def _convergence_claims(groups: Groups, scale: Scale) -> Iterator[dict[str, Any]]:
    """``both`` is the best in every schedule, and loses least where the schedule is short: last epochs, paired by seed."""
    mine = ARMS["both"].label
    for schedule in scale.schedules:
        for other in ("neither", "kd"):
            if {(schedule, "both"), (schedule, other)} <= groups.keys():
                pair = ([run.curve[-1] for run in groups[schedule, arm]] for arm in ("both", other))
                yield compared(f"{mine} is better than {ARMS[other].label}, {schedule} schedule", *pair)
    for shorter in scale.schedules:
        needed = {(schedule, arm) for schedule in (LONGEST, shorter) for arm in ("neither", "both")}
        if shorter != LONGEST and needed <= groups.keys():
            losses = (_loss(groups, arm, shorter) for arm in ("neither", "both"))
            yield compared(f"{mine} loses less than neither, {LONGEST} -> {shorter}", *losses)


def _loss(groups: Groups, arm: str, schedule: str) -> list[float]:
    """What each seed of ``arm`` loses from the longest schedule to ``schedule``."""
    return [long.curve[-1] - run.curve[-1] for long, run in zip(groups[LONGEST, arm], groups[schedule, arm], strict=True)]


def _best(curve: Sequence[float]) -> tuple[float, int]:
    top1 = max(curve)
    return top1, list(curve).index(top1) + 1


def sooner(groups: Groups, scale: Scale) -> list[dict[str, Any]]:
    """How many epochs sooner each arm reaches the best that ``neither`` reaches: in the same schedule, and from any
    schedule against the longest, as the paper counts its "14 times". All on curves that are means over the seeds.

    Each row: ``arm``, ``of`` (the schedule of ``neither``), its ``best_top1`` in ``best_epoch``, the ``schedule`` in which the
    arm reaches that, after ``epoch`` epochs (None if it does not), ``epochs_sooner`` and the ratio ``times``.
    """
    curves = {key: by_epoch(runs, "curve")["mean"] for key, runs in groups.items()}
    rows = []
    for of in scale.schedules:
        if (of, "neither") not in curves:
            continue
        top1, epoch = _best(curves[of, "neither"])
        for arm in dict.fromkeys(arm for _, arm in curves if arm != "neither"):
            among = [of] if of != LONGEST else [schedule for schedule in scale.schedules if (schedule, arm) in curves]
            for schedule in among:
                reached = next((n for n, value in enumerate(curves[schedule, arm], 1) if value >= top1), None)
                row = {"arm": arm, "of": of, "best_top1": top1, "best_epoch": epoch, "schedule": schedule, "epoch": reached}
                rows.append({**row, "epochs_sooner": reached and epoch - reached, "times": reached and epoch / reached})
    return rows
