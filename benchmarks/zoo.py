"""Every ResNet of timm, torchvision, Hugging Face and the CIFAR families, converted: what works, and what is refused, why.

    pip install timm torchvision transformers spikingjelly sinabs    # the last two, to compare: in an environment of its own
    python -m benchmarks.zoo [PATTERN ...] [--redo PATTERN] [--skip-peers]

All models have random weights, no zero scales, and norms that hold the statistics of random images. Each runs in a process
of its own, one thread; models go in the order of the patterns. A row that is in ``benchmarks/results/zoo.json`` already is
not measured again, unless it matches ``--redo``; one without the other converters gets them alone. After each model
``benchmarks/results/zoo.md`` is written from all rows.

difference: the canonical graph's logits against the model's, the largest absolute value over 2 images, and the same over
the largest logit. sites: activation calls of one forward pass, counted by torch's dispatcher, not by our tracer. What has
no site of its own (a gate's sigmoid) is not counted. s: processor seconds for all of ours: tracing, both conversions, writing,
reading back and running. MiB: the process's largest memory, with the model itself and torch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.zoo_models import SIZES, Model, lively, versions, zoo
from benchmarks.zoo_peers import PEERS, activation_calls
from benchmarks.zoo_table import table
from idsnn_convert import runtime
from idsnn_convert.api import converted
from idsnn_convert.passes.builder import RefusedError
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.load import load_teacher, teacher_from_module
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.checkpoint import save
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.network import build

RESULTS = Path(__file__).resolve().parent / "results"
TARGETS = ("resnet18", "same")
COMPARED = 500_000_000
"""Models of more parameters are not given to the other converters."""

SHOWN = 3
"""How many reasons of a refusal a row keeps."""

WARM = "resnet18"
"""The model that is measured once for nothing."""

SECONDS = 900
"""What a model may take before it is given up."""


def measure(model: Model, peers: bool) -> dict[str, Any]:
    """The row of one model."""
    torch.manual_seed(0)
    row: dict[str, Any] = {"model": model.name, "source": model.source, "form": model.form, "relative": model.relative}
    module, images = _running(model)
    row |= {"input": list(images.shape[1:]), "parameters": sum(p.numel() for p in module.parameters())}
    with torch.no_grad():
        row["sites"], logits = activation_calls(module, images[:2])
    start = time.process_time()
    try:
        row |= _conversions(model, module, images[:2], logits)
    except UserError as error:
        row["refused"] = _reason(error)
    row["seconds"] = round(time.process_time() - start, 2)
    row["rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return row | (_compared(module, images) if peers else {})


def compare(model: Model) -> dict[str, Any]:
    """What the other converters make of one model."""
    torch.manual_seed(0)
    return _compared(*_running(model))


def _compared(module: nn.Module, images: Tensor) -> dict[str, Any]:
    small = sum(parameter.numel() for parameter in module.parameters()) < COMPARED
    return {"peers": {name: peer(module, images) for name, peer in PEERS.items()}} if small else {}


def _running(model: Model) -> tuple[nn.Module, Tensor]:
    """The model in eval mode, and images of the first size it takes."""
    module = model.build()
    for size in SIZES if not model.size else (model.size,):
        images = torch.randn(4, 3, size, size)
        try:
            return lively(module, images), images
        except (RuntimeError, ValueError, AssertionError) as error:
            last = error
    raise last


def _conversions(model: Model, module: nn.Module, images: Tensor, logits: Tensor) -> dict[str, Any]:
    start = time.process_time()
    teacher = _teacher(model, module, images.shape[-1])
    row: dict[str, Any] = {"trace_seconds": round(time.process_time() - start, 2)}
    with torch.no_grad():
        found = build(teacher.graph, teacher.tensors).eval()(images)
    difference = float((found - logits).abs().max())
    stages = segment(teacher.graph).stages
    row |= {
        "difference": difference,
        "relative_difference": difference / max(float(logits.abs().max()), 1e-30),
        "blocks": [len(stage.blocks) for stage in stages],
        "norms": {op: len(teacher.graph.of(op)) for op in ("batch_norm", "group_norm") if teacher.graph.of(op)},
    }
    return row | {target: _converted(teacher, target, images) for target in TARGETS}


def _teacher(model: Model, module: nn.Module, size: int) -> Teacher:
    if not model.keys:
        return teacher_from_module(module, input_shape=(3, size, size), name=model.name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.pt"
        torch.save({model.keys(name): tensor for name, tensor in module.state_dict().items()}, path)
        return load_teacher(path, input_size=size)


def _converted(teacher: Teacher, target: str, images: Tensor) -> dict[str, Any]:
    """Converts, writes, loads and runs; its neurons, and how much came from the teacher."""
    try:
        checkpoint = converted(teacher, target, Settings(time_steps=2))
    except UserError as error:
        return {"refused": _reason(error)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.safetensors"
        save(path, checkpoint)
        network = runtime.load(path).eval()
    with torch.no_grad():
        finite = bool(torch.isfinite(network(images[:1])).all())
    tensors = checkpoint.mapping["tensors"]
    return {
        "neurons": len(checkpoint.graph.of("neuron")),
        "sites": checkpoint.mapping["activation_sites"],
        "tensors": len(tensors),
        "from_teacher": sum(entry["source"] is not None for entry in tensors),
        "cautions": [caution["reason"] for caution in checkpoint.mapping["cautions"]],
        "runs": finite,
    }


def _reason(error: UserError) -> dict[str, Any]:
    cause = error if isinstance(error, RefusedError) else error.__cause__
    if not isinstance(cause, RefusedError):
        return {"reason": error.problem, "node": "", "place": ""}
    reasons = list(dict.fromkeys(refusal.reason for refusal in cause.refusals))
    told = "; ".join(reasons[:SHOWN]) + (f" and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else "")
    return {"reason": told, "node": cause.refusals[0].node, "place": cause.refusals[0].source}


def _apart(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What ``work`` gives, in a process of its own; what it raised or that it was killed stands under ``failed``."""
    read, write = os.pipe()
    if child := os.fork():
        os.close(write)
        with os.fdopen(read) as file:
            told = file.read()
        _, status = os.waitpid(child, 0)
        return json.loads(told) if told else {"failed": f"killed by signal {os.waitstatus_to_exitcode(status)}"}
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        row = work()
    except BaseException as error:
        traceback.print_exc()
        row = {"failed": f"{type(error).__name__}: {error}"}
    with os.fdopen(write, "w") as file:
        json.dump(row, file)
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("patterns", nargs="*", default=["*"], metavar="PATTERN")
    parser.add_argument("--redo", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--skip-peers", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS / "zoo.json")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    models = zoo()
    rows: dict[str, Any] = {}
    if args.results.is_file():
        rows = {row["model"]: row for row in json.loads(args.results.read_text())["rows"]}
    wanted = dict.fromkeys(model for pattern in args.patterns for model in models if fnmatch(model.name, pattern))
    again = {m.name for m in wanted if m.name not in rows or any(fnmatch(m.name, pattern) for pattern in args.redo)}
    alone = {m.name for m in wanted if _lacks_peers(rows.get(m.name), m)} if not args.skip_peers else set()
    if again | alone:  # what is imported at the first call is imported once, before any process is split off
        measure(next(model for model in models if model.name == WARM), peers=not args.skip_peers)
    for model in wanted:
        if model.name in again:
            known = {"model": model.name, "source": model.source, "form": model.form, "relative": model.relative}
            peers = not (args.skip_peers or model.relative)
            before = {"peers": rows[model.name]["peers"]} if "peers" in rows.get(model.name, {}) else {}
            rows[model.name] = row = known | before | _apart(lambda model=model, peers=peers: measure(model, peers))
            told = row.get("failed") or row.get("refused") or row.get("difference")
            print(model.name, row.get("seconds"), told, file=sys.stderr)
        elif model.name in alone:
            found = _apart(lambda model=model: compare(model))
            rows[model.name] |= {"peers": found["peers"]} if "peers" in found else {}
            print(model.name, found, file=sys.stderr)
        else:
            continue
        _write(args.results, rows, models)
    _write(args.results, rows, models)


def _lacks_peers(row: dict[str, Any] | None, model: Model) -> bool:
    return row is not None and not model.relative and "peers" not in row and row.get("parameters", COMPARED) < COMPARED


def _write(path: Path, rows: dict[str, Any], models: list[Model]) -> None:
    facts = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": 1},
        "versions": {"python": platform.python_version(), **versions()},
        "runs": 1,
        "seed": 0,
        "resnets": sum(not model.relative for model in models),
        "rows": [rows[model.name] for model in models if model.name in rows],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(facts, indent=1) + "\n")
    path.with_suffix(".md").write_text(table(facts))


if __name__ == "__main__":
    main()
