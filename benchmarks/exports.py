"""Exported students on real test images: the answers they give, the spikes that flip, file sizes, speed.

    python benchmarks/exports.py cifar10:DIR resnet20=STUDENT.safetensors vgg9=STUDENT.safetensors ...

For each trained student and each form (ONNX unrolled, scan and step; torch.export; NIR as we read it back): one layer at a
time and end to end on 8 images, the answers for the first 1,000 test images beside the runtime's, the file's size, and
the time for a batch of 32 images, one thread, forms and runtime in turns, 5 rounds; the ratio is the median of the
rounds' own ratios. Writes ``benchmarks/results/exports.json``; students in it that are not named stay.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nir
import torch
from torch import Tensor

from benchmarks.common import RESULTS, facts, interleaved, show, summary, write
from idsnn_convert import runtime
from idsnn_convert.runtime.checkpoint import Checkpoint, read
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.data.batches import test_batches
from idsnn_convert.runtime.export import compare
from idsnn_convert.runtime.export.nir import check as nir_check
from idsnn_convert.runtime.export.nir.read import from_nir
from idsnn_convert.runtime.export.nir.write import to_nir
from idsnn_convert.runtime.export.onnx import check as onnx_check
from idsnn_convert.runtime.export.onnx.forms import SPIKING_FORMS
from idsnn_convert.runtime.export.onnx.model import USUAL_OPSET, to_onnx
from idsnn_convert.runtime.export.onnx.running import Running
from idsnn_convert.runtime.export.pt2 import check as pt2_check
from idsnn_convert.runtime.export.pt2.write import to_pt2
from idsnn_convert.runtime.export.types import Stage
from idsnn_convert.runtime.normalisation import from_json

IMAGES, DRAWN, BATCH, ROUNDS = 1000, 8, 32, 5
Answer = Callable[[Tensor], Tensor]
Form = tuple[int, Answer, Iterator[Stage]]
"""Bytes of the file, images (B, C, H, W) -> answers (B, K), comparisons."""


def main() -> None:
    torch.set_num_threads(1)
    data, *given = sys.argv[1:]
    students = dict(argument.split("=", 1) for argument in given)
    place = RESULTS / "exports.json"
    found: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    found["settings"] = facts(images=IMAGES, batch=BATCH, rounds=ROUNDS, data=data.partition(":")[0])
    found["settings"]["machine"] = "shared with other work while this ran"
    for name, place in students.items():
        print(name)
        found[name] = measured(read(Path(place)), data, Path(place).stat().st_size)
        show(found[name]["forms"])
        write("exports", found)


def measured(checkpoint: Checkpoint, data: str, size: int) -> dict[str, Any]:
    split = open_dataset(data).test.first(IMAGES)
    batches = list(test_batches(split, BATCH, normalisation=from_json(checkpoint.normalisation)))
    images, labels = batches[0][0], torch.cat([each for _, each in batches])
    network = runtime.network(checkpoint).eval()
    forms = dict(written(checkpoint, images[:DRAWN]))
    answers = {"runtime": lambda x: checkpoint.readout(network(x)), **{name: form[1] for name, form in forms.items()}}
    with torch.inference_mode():
        said = {name: torch.cat([answer(x).argmax(1) for x, _ in batches]) for name, answer in answers.items()}
        steps = {name: (lambda answer=answer: answer(images)) for name, answer in answers.items()}
        speed = summary(interleaved(steps, ROUNDS, "wall"), ["runtime"])
    right = {name: 100 * float((found == labels).float().mean()) for name, found in said.items()}
    rows: dict[str, Any] = {"runtime": {"top1_percent": round(right["runtime"], 2), "bytes": size, **speed["runtime"]}}
    for name, (length, _, stages) in forms.items():
        told = {stage.name: dict(stage.measured) for stage in stages}
        rows[name] = {
            "top1_percent": round(right[name], 2),
            "same_answer_percent": round(100 * float((said[name] == said["runtime"]).float().mean()), 2),
            "bytes": length,
            "layer_by_layer": told.get("Layer by layer", {}).get("largest_difference"),
            "flipped": told["End to end"]["flipped"],
            "of_spikes": told["End to end"]["sites"],
            **speed[name],
        }
    about = {"time_steps": checkpoint.time_steps, "neurons": len(checkpoint.graph.of("neuron")), "tested_on": DRAWN}
    return {**about, "forms": rows}


def written(checkpoint: Checkpoint, drawn: Tensor) -> Iterator[tuple[str, Form]]:
    steps = checkpoint.time_steps
    for form in SPIKING_FORMS:
        model = to_onnx(checkpoint, form=form)
        exported = onnx_check.Exported(model, checkpoint, form, steps, USUAL_OPSET, folded=True)
        running = Running(model, form, checkpoint.graph, threads=1)

        def in_onnxruntime(x: Tensor, running: Running = running) -> Tensor:
            return torch.from_numpy(running.answer(x.numpy(), steps, checkpoint.readout))

        yield f"onnx {form}", (model.ByteSize(), in_onnxruntime, onnx_check.stages(exported, drawn))
    content = to_pt2(checkpoint)
    program = torch.export.load(io.BytesIO(content)).module()
    yield "pt2", (len(content), lambda x: program(x)[0], pt2_check.stages(content, checkpoint, True, drawn))
    graph = to_nir(checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        nir.write(place := Path(folder) / "x.nir", graph)
        size, (back, tensors, _) = place.stat().st_size, from_nir(place)
    network = compare.plain(replace(checkpoint, graph=back, tensors=tensors))
    yield "nir, read back", (size, lambda x: checkpoint.readout(network(x)), nir_check.stages(graph, checkpoint, drawn))


if __name__ == "__main__":
    main()
