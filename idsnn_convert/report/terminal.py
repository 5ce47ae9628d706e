"""The mapping and the rest as text: tables that fit 80 columns, with or without colour."""

from __future__ import annotations

import json
import math
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from idsnn_convert.cli import printable
from idsnn_convert.report.data import coverage
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.evaluate import Evaluation
from idsnn_convert.runtime.trainer import TrainResult

FEW_NAMES = 3


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def console() -> Console:
    """Where results go: stdout, plain where it is no terminal."""
    return Console(file=sys.stdout, highlight=False)


def safe(text: object) -> str:
    """Text of foreign origin, neither escape sequence nor markup."""
    return escape(printable(str(text)))


def say(text: str) -> None:
    """Foreign text of any length, indented, its further lines more so; words (paths, names of tensors) stay whole."""
    out = console()
    whole = {"break_long_words": False, "break_on_hyphens": False}
    for line in textwrap.wrap(printable(text), out.width, initial_indent="  ", subsequent_indent="    ", **whole):
        out.print(line, markup=False, soft_wrap=True)


def table(*columns: str, numbers: Iterable[str] = ()) -> Table:
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in set(numbers) else "left", overflow="fold")
    return made


def print_conversion(checkpoint: Checkpoint, written: Path) -> None:
    """What a conversion says when it is done."""
    print_mapping(checkpoint)
    out = console()
    for check in checkpoint.mapping.get("checks", []):
        mark = "[green]ok[/]" if check["passed"] else "[red]failed[/]"
        wanted = "" if check["passed"] else f", wanted {check['wanted']}"
        out.print(f"{mark} {safe(check['name'])}: {safe(check['found'])}{safe(wanted)}")
    out.print(f"\nWrote [bold]{safe(written)}[/] ({written.stat().st_size:,} bytes).", soft_wrap=True)


def print_mapping(checkpoint: Checkpoint) -> None:
    """Where each block and tensor of a checkpoint came from."""
    out, mapping, teacher = console(), checkpoint.mapping, checkpoint.teacher
    settings = mapping.get("settings", {})
    out.print(f"[bold]{safe(teacher.get('arch', 'unknown teacher'))}[/] ({safe(teacher.get('family', ''))})")
    digest = str(teacher.get("sha256", ""))[:16]
    out.print(f"  file    {safe(teacher.get('file', '?'))}, {safe(teacher.get('form', '?'))}, sha256 {safe(digest)}")
    for assumption in teacher.get("assumptions", []):
        say(f"assumed {assumption}")
    for caution in mapping.get("cautions", []):
        say(f"be careful: {caution['reason']}. {caution['advice']}")
    neurons, sites = len(checkpoint.neurons), mapping.get("activation_sites", "?")
    out.print(
        f"[bold]spiking {safe(mapping.get('target', '?'))}[/], T = {checkpoint.time_steps}, {checkpoint.encoder} encoding, "
        f"{neurons} {_neuron_kinds(checkpoint)} layers for {sites} sites"
    )
    say(", ".join(f"{key} {value}" for key, value in settings.items()))
    out.print()
    rows = mapping.get("tensors", [])
    out.print(_places(mapping.get("pairs", []), rows))
    found = coverage(rows)
    out.print(f"From the teacher: {found['tensors']} of {found['of_tensors']} tensors ({found['percent_of_tensors']} %),")
    say(f"{found['parameters']:,} of {found['of_parameters']:,} values ({found['percent_of_parameters']} %).")
    out.print()
    _print_reasons("Fresh, drawn by the seed:", [(row["target"], row["reason"]) for row in rows if row["source"] is None])
    _print_reasons("Of the teacher, not used:", [(row["source"], row["reason"]) for row in mapping.get("unused", [])])


def _neuron_kinds(checkpoint: Checkpoint) -> str:
    return "/".join(dict.fromkeys(str(neuron["kind"]).upper() for neuron in checkpoint.neurons))


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


def _print_reasons(title: str, named: list[tuple[str, str]]) -> None:
    """Names grouped by reason: all of them if they are few, else how many and the first."""
    if not named:
        return
    out = console()
    out.print(title)
    grouped: dict[str, list[str]] = {}
    for name, reason in named:
        grouped.setdefault(reason, []).append(name)
    for reason, names in grouped.items():
        few = len(names) <= FEW_NAMES
        told = ", ".join(names) if few else f"{names[0]} ... {names[-1]} ({len(names)} tensors)"
        say(f"{told}: {reason}")
    out.print()


def print_checkpoint(checkpoint: Checkpoint) -> None:
    """What ``idsnn inspect`` says of a checkpoint."""
    print_mapping(checkpoint)
    out = console()
    made = table("neuron", "kind", "v_threshold", "decay", "reset", "surrogate", "shape", numbers=("v_threshold", "decay"))
    for neuron in checkpoint.neurons:
        settings = (neuron["kind"], f"{neuron['v_threshold']:g}", f"{neuron['decay']:g}", neuron["reset"])
        surrogate = f"{neuron['surrogate']} {neuron['width']:g}"
        made.add_row(safe(neuron["name"]), *settings, surrogate, "x".join(map(str, neuron["shape"])))
    out.print(made)
    known = checkpoint.normalisation
    out.print(f"Images are normalised by: {safe(known['name']) if known else 'not known yet (training decides)'}")
    if checkpoint.training:
        plain = {key: value for key, value in checkpoint.training.items() if not isinstance(value, dict)}
        told = ", ".join(f"{safe(key)} {safe(value)}" for key, value in plain.items())
        out.print(f"Trained: {told}")
    else:
        out.print("Not trained yet.")


def print_teacher(facts: Mapping[str, Any]) -> None:
    """What ``idsnn inspect`` says of a teacher."""
    out = console()
    channels, height, width = facts["input_shape"]
    out.print(f"[bold]{safe(facts['arch'])}[/] ({safe(facts['family'])})")
    out.print(f"  file        {safe(facts['file'])}, {safe(facts['form'])}", soft_wrap=True)
    out.print(f"  sha256      {facts['sha256']}")
    out.print(f"  images      {height}x{width}, {channels} channels; {facts['classes']} classes")
    out.print(f"  parameters  {facts['parameters']:,} values in {facts['tensors']} tensors")
    kinds = ", ".join(f"{count} {safe(kind)}" for kind, count in facts["activations"].items())
    out.print(f"  activations {sum(facts['activations'].values())} sites ({kinds})\n")
    made = table("stage", "blocks", "shape", "convolutions a block", "shortcuts", numbers=("stage", "blocks"))
    for index, stage in enumerate(facts["stages"], 1):
        blocks = stage["blocks"]
        shortcuts = Counter(block["shortcut"] for block in blocks)
        convolutions = "/".join(dict.fromkeys(str(block["convolutions"]) for block in blocks))
        told = ", ".join(f"{count} {name}" for name, count in shortcuts.items())
        made.add_row(str(index), str(len(blocks)), "x".join(map(str, stage["shape"])), convolutions, told)
    out.print(made)
    for assumption in facts["assumptions"]:
        out.print(f"Assumed: {safe(assumption)}")
    _print_reasons("In the file, not used:", [(row["source"], row["reason"]) for row in facts["unread"]])


def print_evaluation(found: Evaluation, normalisation: str) -> None:
    """What ``idsnn evaluate`` measured."""
    out = console()
    out.print(f"[bold]top-1 {found.top1:.2f} %[/], loss {found.loss:.4f}")
    if len(found.top1_per_step) > 1:
        steps = ", ".join(f"T={t} {top1:.2f}" for t, top1 in enumerate(found.top1_per_step, 1))
        out.print(f"after fewer steps: {steps}")
    rate = f"{found.images_per_second:,.0f} images/s"
    out.print(f"{found.images:,} images, {safe(normalisation)} normalisation, {found.seconds:.1f} s ({rate})")


def print_training(result: TrainResult) -> None:
    """How a run ended."""
    out = console()
    out.print(f"[bold]best top-1 {result.best_top1:.2f} %[/] in epoch {result.best_epoch}: {safe(result.best)}", soft_wrap=True)
    out.print(f"last top-1 {result.last_top1:.2f} % in epoch {result.epochs}: {safe(result.last)}", soft_wrap=True)
