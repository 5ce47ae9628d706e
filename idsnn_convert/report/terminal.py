"""Conversions, checkpoints, teachers and measurements as text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.table import Table

from idsnn_convert.report.data import coverage
from idsnn_convert.report.text import console, heading, paragraph, reasons, safe, shown, table
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.evaluate import Evaluation
from idsnn_convert.runtime.trainer import TrainResult


def print_conversion(checkpoint: Checkpoint, written: Path) -> None:
    """What a conversion says when it is done."""
    print_mapping(checkpoint)
    out = console()
    out.print("Checked before it was written:")
    for check in checkpoint.mapping.get("checks", []):
        wanted = "" if check["passed"] else f", FAILED: wanted {check['wanted']}"
        paragraph(f"{check['name']}: {check['found']}{wanted}", "- ", indent=2)
    out.print(f"\nWrote [bold]{safe(written)}[/] ({written.stat().st_size:,} bytes).", soft_wrap=True)


def print_mapping(checkpoint: Checkpoint) -> None:
    """Where each block and tensor of a checkpoint came from."""
    mapping, teacher = checkpoint.mapping, checkpoint.teacher
    heading(f"{teacher.get('arch', 'unknown teacher')} -> spiking {mapping.get('target', 'network')}")
    digest = str(teacher.get("sha256", ""))[:16]
    known = (teacher.get(key, "?") for key in ("file", "family", "form"))
    paragraph(f"{', '.join(map(str, known))}, sha256 {digest}", "teacher   ")
    _print_evidence(teacher.get("evidence", {}))
    for assumption in teacher.get("assumptions", []):
        paragraph(assumption, "  assumed ")
    for caution in mapping.get("cautions", []):
        paragraph(f"{caution['reason']}. {caution['advice']}", "  caution ")
    kinds = "/".join(dict.fromkeys(str(neuron["kind"]).upper() for neuron in checkpoint.neurons))
    sites = f"{len(checkpoint.neurons)} {kinds} layers for {mapping.get('activation_sites', '?')} activation sites"
    paragraph(f"T = {checkpoint.time_steps}, {checkpoint.encoder} encoding, {sites}", "student   ")
    settings = mapping.get("settings", {}).items()
    paragraph(
        ", ".join(f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in settings), "settings  "
    )
    rows = mapping.get("tensors", [])
    out = console()
    out.print()
    out.print(_places(mapping.get("pairs", []), rows))
    found = coverage(rows)
    for label, part, word in (("From the teacher: ", "tensors", "tensors"), (" " * 18, "parameters", "values")):
        out.print(f"{label}{found[part]:,} of {found[f'of_{part}']:,} {word} ({found[f'percent_of_{part}']} %)")
    out.print()
    reasons("Fresh, drawn by the seed:", [(row["target"], row["reason"]) for row in rows if row["source"] is None])
    reasons("Of the teacher, not used:", [(row["source"], row["reason"]) for row in mapping.get("unused", [])])


def _print_evidence(evidence: Mapping[str, Any]) -> None:
    """What images said of the teacher, if any were asked."""
    if not evidence:
        return
    agree = sum(norm["agrees"] for norm in evidence["batch_norms"])
    count = f"{agree} of {len(evidence['batch_norms'])} batch norms agree with {evidence['images']} images"
    others = f"; {len(evidence['readings']) - 1} other readings fit less" if len(evidence["readings"]) > 1 else ""
    paragraph(f"{count} of {evidence['data']}{others if evidence['verdict'] == 'same' else ''}", "  told    ")
    for sentence in evidence["changed"]:
        paragraph(f"Not what its names and shapes suggest: {sentence}", "  told    ")
    for sentence in evidence["established"]:
        paragraph(sentence, "  told    ")
    if evidence["normalisation_clear"]:
        paragraph(f"Its images were normalised by {evidence['normalisation']['name']}.", "  told    ")


def _places(pairs: list[dict[str, Any]], rows: list[dict[str, Any]]) -> Table:
    """One line for the stem, each block and the head: its source, its tensors by rule, its values."""
    made = table("target", "from", "copied", "looped", "fresh", "values", numbers=("copied", "looped", "fresh", "values"))
    sources = {pair["target"]: pair["source"] for pair in pairs}
    for place in dict.fromkeys(row["place"] for row in rows):
        here = [row for row in rows if row["place"] == place]
        counts = Counter(row["rule"] for row in here)
        values = sum(math.prod(row["target_shape"]) for row in here)
        source = sources.get(place, place if counts["fresh"] < len(here) else "-")
        numbers = [str(counts[rule]) if counts[rule] else "" for rule in ("copy", "loop", "fresh")]
        made.add_row(safe(place), safe(source), *numbers, f"{values:,}")
    return made


def print_checkpoint(checkpoint: Checkpoint) -> None:
    """What ``idsnn inspect`` says of a checkpoint."""
    print_mapping(checkpoint)
    _print_neurons(checkpoint.neurons)
    known = checkpoint.normalisation
    paragraph(str(known["name"]) if known else "not known yet; training or evaluating finds it", "Normalisation of images: ")
    paragraph(_training_told(checkpoint.training), "Training: ")


def _training_told(training: Mapping[str, Any]) -> str:
    if not training:
        return "not trained yet"
    metrics = training["metrics"]
    how = "distilled from a teacher" if training["teacher_sha256"] else "without a teacher"
    return (
        f"{metrics['epoch']} epochs on {training['train_images']:,} images of {training['dataset']}, {how}; top-1 "
        f"{metrics['test_top1_percent']:.2f} % of {training['test_images']:,} test images, loss {metrics['test_loss']:.4f}"
    )


def _print_neurons(neurons: list[dict[str, Any]]) -> None:
    """Neuron layers that are alike together, and below that those that give maps of one shape."""
    settings = ("kind", "v_threshold", "decay", "reset", "surrogate", "width")
    out = console()
    for values, alike in groupby(neurons, key=lambda neuron: [neuron[key] for key in settings]):
        kind, v_threshold, decay, reset, surrogate, width = values
        told = f"v_threshold {v_threshold:g}, decay {decay:g}, {reset} reset, {surrogate} surrogate of half-width {width:g}"
        paragraph(f"{kind}, {told}", "Neurons: ")
        made = table("layers", "shape", "names", numbers=("layers",))
        for shape, run in groupby(alike, key=lambda neuron: neuron["shape"]):
            names = [neuron["name"] for neuron in run]
            told = names[0] if len(names) == 1 else f"{names[0]} ... {names[-1]}"
            made.add_row(str(len(names)), "x".join(map(str, shape)), safe(told))
        out.print(made)
        out.print()


def print_teacher(facts: Mapping[str, Any]) -> None:
    """What ``idsnn inspect`` says of a teacher."""
    out = console()
    channels, height, width = facts["input_shape"]
    heading(f"{facts['arch']} ({facts['family']})")
    out.print(f"file         {shown(facts['file'])}, {shown(facts['form'])}", soft_wrap=True, markup=False)
    out.print(f"sha256       {facts['sha256']}")
    out.print(f"images       {height}x{width}, {channels} channels; {facts['classes']} classes")
    out.print(f"parameters   {facts['parameters']:,} values in {facts['tensors']} tensors")
    kinds = ", ".join(f"{count} {kind}" for kind, count in facts["activations"].items())
    paragraph(f"{sum(facts['activations'].values())} sites ({kinds})", "activations  ")
    if facts["normalisation"]:
        out.print(f"normalised   {shown(facts['normalisation']['name'])}, as recorded", markup=False)
    for assumption in facts["assumptions"]:
        paragraph(assumption, "assumed      ")
    for caution in facts["cautions"]:
        paragraph(f"{caution['reason']}. {caution['advice']}", "caution      ")
    out.print()
    made = table("stage", "blocks", "shape", "convolutions a block", "shortcuts", numbers=("stage", "blocks"))
    for index, stage in enumerate(facts["stages"], 1):
        blocks = stage["blocks"]
        shortcuts = Counter(block["shortcut"] for block in blocks)
        convolutions = "/".join(dict.fromkeys(str(block["convolutions"]) for block in blocks))
        told = ", ".join(f"{count} {name}" for name, count in shortcuts.items())
        made.add_row(str(index), str(len(blocks)), "x".join(map(str, stage["shape"])), convolutions, told)
    out.print(made)
    out.print()
    reasons("In the file, not used:", [(row["source"], row["reason"]) for row in facts["unread"]])


def print_evaluation(found: Evaluation, normalisation: str) -> None:
    """What ``idsnn evaluate`` measured."""
    out = console()
    top5 = "" if found.top5 is None else f"top-5 {found.top5:.2f} %, "
    out.print(f"[bold]top-1 {found.top1:.2f} %[/], {top5}loss {found.loss:.4f}")
    for label, per_step in (("after fewer steps: ", found.top1_per_step), ("             top-5: ", found.top5_per_step)):
        if len(per_step) > 1:
            paragraph(", ".join(f"T={t} {share:.2f}" for t, share in enumerate(per_step, 1)), label)
    rate = f"{found.images_per_second:,.0f} images/s"
    paragraph(f"{found.images:,} images, {normalisation} normalisation, {found.seconds:.1f} s ({rate})")


def print_training(result: TrainResult) -> None:
    """How a run ended."""
    out = console()
    out.print(f"[bold]best top-1 {result.best_top1:.2f} %[/] in epoch {result.best_epoch}: {safe(result.best)}", soft_wrap=True)
    out.print(f"last top-1 {result.last_top1:.2f} % in epoch {result.epochs}: {safe(result.last)}", soft_wrap=True)
    if result.best_ema is not None:
        out.print(f"moving average, best top-1 {result.best_ema_top1:.2f} %: {safe(result.best_ema)}", soft_wrap=True)
