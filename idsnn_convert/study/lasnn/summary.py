"""From the runs of the LaSNN study to its figures: means over seeds, beside the paper's, and what they say of its claims."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from idsnn_convert.study.lasnn.paper import reported
from idsnn_convert.study.lasnn.plan import ANN, ARMS, CONVERTED, GRADIENT, HYBRID, LASNN
from idsnn_convert.study.outcome import Outcome
from idsnn_convert.study.summary import by_epoch, compared, over_seeds

Spikes = Sequence[Mapping[str, Any]]
"""Of each neuron layer in order ``layer``, ``neurons`` and ``spikes``, how often each spiked over all steps."""

Groups = Mapping[tuple[str, str], Sequence[float]]
"""(arm, teacher) -> top-1 of the last networks, one a seed."""


def summarised(
    facts: Mapping[str, Any],
    found: Sequence[tuple[Outcome, Spikes]],
    converted: Sequence[Mapping[str, Any]],
    memory: Mapping[str, float],
) -> dict[str, Any]:
    """All figures of the study, JSON-native; accuracies in percent, memory in MiB, seconds of one epoch of training.

    Args:
        facts: what was studied: ``data``, ``student`` and ``teachers`` are read.
        found: each run's outcome and spikes, in the order of the plan.
        converted: of each seed's converted network ``top1_percent`` at the arms' time steps, its ``spikes``, and its
            ``top1_percent_per_step``.
        memory: what a training step takes, by arm.
    """
    runs: dict[tuple[str, str], list[tuple[Outcome, Spikes]]] = {}
    for outcome, spikes in found:
        runs.setdefault((outcome.arm, outcome.schedule), []).append((outcome, spikes))
    top1: dict[tuple[str, str], list[float]] = {}
    rows = []
    for key, group in runs.items():
        top1[key] = [outcome.final or 0.0 for outcome, _ in group]
        seconds = [outcome.seconds / max(1, len(outcome.curve)) for outcome, _ in group]
        rows.append(_row(facts, key, top1[key], [spikes for _, spikes in group], statistics.mean(seconds), memory.get(key[0])))
        if key[0] == ANN:
            bare = (CONVERTED, key[1])
            top1[bare] = [one["top1_percent"] for one in converted]
            rows.append(_row(facts, bare, top1[bare], [one["spikes"] for one in converted], None, None))
    curves = [
        {
            "arm": arm,
            "teacher": teacher,
            "top1": by_epoch([outcome for outcome, _ in group], "curve"),
            "train_ce": by_epoch([outcome for outcome, _ in group], "train_ce"),
        }
        for (arm, teacher), group in runs.items()
    ]
    followed = [over_seeds(each) for each in zip(*(one["top1_percent_per_step"] for one in converted), strict=True)]
    return {
        "seeds": sorted({outcome.seed for outcome, _ in found}),
        "rows": rows,
        "claims": list(_claims(top1, next(iter(facts["teachers"])))),
        "curves": curves,
        "converted_by_step": {key: [each[key] for each in followed] for key in ("mean", "deviation")},
        "runs": [outcome.to_json() for outcome, _ in found],
    }


def _row(
    facts: Mapping[str, Any],
    key: tuple[str, str],
    top1: Sequence[float],
    spikes: Sequence[Spikes],
    seconds: float | None,
    memory: float | None,
) -> dict[str, Any]:
    arm, teacher = key
    layers = [
        {"layer": same[0]["layer"], "neurons": same[0]["neurons"], "spikes": over_seeds([each["spikes"] for each in same])}
        for same in zip(*spikes, strict=True)
    ]
    every = [
        sum(each["neurons"] * each["spikes"] for each in one) / sum(each["neurons"] for each in one) for one in spikes if one
    ]
    return {
        "arm": arm,
        "teacher": teacher if teacher in facts["teachers"] else None,
        "top1": over_seeds(top1),
        "paper_top1": reported(facts["student"]["target"], facts["data"], arm, teacher),
        "spikes": over_seeds(every) if every else None,
        "layers": layers,
        "epoch_seconds": seconds,
        "step_mib": memory,
    }


def _claims(top1: Groups, teacher: str) -> Iterator[dict[str, Any]]:
    """What the paper says of its arms at equal time steps, paired by seed."""
    by_arm: dict[str, Sequence[float]] = {}
    for (arm, learnt_from), values in top1.items():
        if arm != LASNN or learnt_from == teacher:
            by_arm[arm] = values
    asked = [(LASNN, other) for other in ("label-kd", HYBRID, CONVERTED, "spike-kd", GRADIENT)]
    asked += [(GRADIENT, CONVERTED), (HYBRID, CONVERTED)]
    for better, worse in asked:
        if better in by_arm and worse in by_arm:
            yield compared(f"{ARMS[better].label} is better than {ARMS[worse].label}", by_arm[better], by_arm[worse])
    for (arm, learnt_from), values in top1.items():
        if arm == LASNN and learnt_from != teacher and HYBRID in by_arm:
            what = f"{ARMS[LASNN].label} of {learnt_from} is better than {ARMS[HYBRID].label}"
            yield compared(what, values, by_arm[HYBRID])
