"""Draws the manual's pictures, with the numbers that the code itself gives: `python docs/images/draw.py`.

The pages hold the SVG itself, so that it takes the page's colours, light or dark; the fallbacks are for the files alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

import torch

from idsnn_convert.passes.interpolate import interpolate
from idsnn_convert.passes.match import RULES, match
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.targets import build_target
from idsnn_convert.runtime.neurons import Neuron, step

HERE = Path(__file__).parent
WIDTH = 420
STYLE = """
text { font: 13px system-ui, sans-serif; fill: var(--color-foreground-primary, #222) }
.small { font-size: 11px; fill: var(--color-foreground-secondary, #555) }
.code { font-family: ui-monospace, monospace; font-size: 12px }
.middle { text-anchor: middle }
.end { text-anchor: end }
.box { fill: var(--color-background-secondary, #f6f6f6); stroke: var(--color-foreground-border, #999) }
.ours { fill: color-mix(in srgb, #2f7dd1 22%, var(--color-background-primary, #fff)); stroke: #2f7dd1 }
.spike { fill: color-mix(in srgb, #d9822b 26%, var(--color-background-primary, #fff)); stroke: #d9822b }
.line { fill: none; stroke: var(--color-foreground-muted, #777); stroke-width: 1.5 }
.link { fill: none; stroke: #2f7dd1; stroke-width: 2 }
.hot { fill: none; stroke: #d9822b; stroke-width: 2 }
.band { fill: #d9822b; opacity: .14 }
"""


def svg(name: str, title: str, height: float, parts: Iterator[str]) -> None:
    """Writes one picture; ``title`` says in words what it shows. Its style holds inside it alone."""
    own = "\n".join(f"#{name} {line}" for line in STYLE.strip().splitlines())
    head = f'<svg id="{name}" class="drawing" viewBox="0 0 {WIDTH} {height:g}" role="img" xmlns="http://www.w3.org/2000/svg">'
    arrow = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    defs = f'<defs>{arrow.replace("tip", f"{name}-tip")}<path d="M0 0 8 4 0 8z" fill="#888"/></marker></defs>'
    body = "\n".join(part.replace("#tip", f"#{name}-tip") for part in parts)
    (HERE / f"{name}.svg").write_text(
        f"{head}\n<title>{escape(title)}</title>\n<style>\n{own}\n</style>\n{defs}\n{body}\n</svg>\n"
    )


def text(x: float, y: float, said: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(said)}</text>'


def box(x: float, y: float, wide: float, high: float, said: str = "", kind: str = "box", words: str = "middle") -> str:
    label = text(x + wide / 2, y + high / 2 + 4.5, said, words) if said else ""
    return f'<rect x="{x:g}" y="{y:g}" width="{wide:g}" height="{high:g}" rx="4" class="{kind}"/>{label}'


def arrow(*points: tuple[float, float]) -> str:
    return f'<polyline points="{" ".join(f"{x:g},{y:g}" for x, y in points)}" class="line" marker-end="url(#tip)"/>'


STEPS = (
    ("a teacher's file", "state dict, model, ONNX, ...", "box"),
    ("canonical graph", "checked node by node against it", "box"),
    ("stages and blocks", "found from the topology", "box"),
    ("pairs of blocks", "by relative place", "ours"),
    ("tensors", "looped to the target's sizes", "ours"),
    ("neurons", "one for each activation call", "spike"),
    ("checkpoint", "one safetensors file", "box"),
    ("training", "surrogate gradients, teacher's answers", "spike"),
)


def method() -> Iterator[str]:
    for index, (name, told, kind) in enumerate(STEPS):
        y = 8 + 52 * index
        yield box(10, y, 150, 34, name, kind)
        yield text(174, y + 22, told, "small")
        if index:
            yield arrow((85, y - 18), (85, y - 1))


def pairing() -> Iterator[str]:
    """The third stage of resnet34 and of resnet18, six blocks and two, under every rule."""
    teacher, target = (
        segment(build_target(name, input_shape=(3, 32, 32), classes=10).graph) for name in ("resnet34", "resnet18")
    )
    for index, rule in enumerate(RULES):
        left = 14 + 138 * index
        yield text(left + 58, 16, rule, "middle code")
        for row in range(6):
            yield box(left, 28 + 30 * row, 48, 22, str(row), "box", "middle small")
        pairs = [pair for pair in match(target, teacher, rule).pairs if pair.target_stage == 2]
        taken = [teacher.stages[2].blocks.index(pair.source) for pair in pairs]
        for row, source in enumerate(taken):
            y, x, above = 28 + 75 + 30 * (row - 0.5), left + 48, 39 + 30 * source
            yield f'<path d="M{x} {above} C{x + 14} {above} {x + 8} {y + 11} {x + 22} {y + 11}" class="link"/>'
            yield box(left + 70, y, 46, 22, str(row), "ours", "middle small")
    yield text(WIDTH / 2, 226, "Left: the teacher's six blocks of a stage. Right: the target's two.", "middle small")


def looping() -> Iterator[str]:
    source = torch.arange(6.0).reshape(3, 2, 1, 1)
    target = interpolate(source, (5, 3, 1, 1))
    for left, tensor, name in ((20, source, "teacher: 3 out, 2 in"), (200, target, "student: 5 out, 3 in")):
        yield text(left, 18, name, "")
        for i, row in enumerate(tensor.flatten(1).tolist()):
            for j, value in enumerate(row):
                i_from, j_from = divmod(int(value), 2)
                again = i >= 3 or j >= 2
                yield box(
                    left + 52 * j, 30 + 30 * i, 46, 24, f"{i_from}, {j_from}", "spike" if again else "ours", "middle code"
                )
    yield arrow((136, 72), (188, 72))
    yield text(20, 200, "Each cell is a kernel, named by its place in the teacher;", "small")
    yield text(20, 216, "orange: repeated, because the student is wider.", "small")


def neuron() -> Iterator[str]:
    """A LIF neuron of the defaults under one sequence of currents, by the runtime's own step function."""
    currents = (0.2, 0.3, 0.45, 0.3, 0.1, 0.6, 0.2, 0.35, 0.38, 0.5, 0.0, 0.1)
    model = Neuron()
    u, fired = torch.zeros(1), torch.zeros(1)
    left, floor, unit, pace = 44, 190, 200, 30

    def height(value: float) -> float:
        return floor - unit * value

    low, high = height(model.v_threshold + model.width), height(max(0.0, model.v_threshold - model.width))
    yield f'<rect x="{left}" y="{max(low, 14):g}" width="{pace * 12}" height="{high - max(low, 14):g}" class="band"/>'
    yield f'<path d="M{left} {height(model.v_threshold):g}H{left + pace * 12}" class="hot" stroke-dasharray="5 4"/>'
    yield text(left - 6, height(model.v_threshold) + 4, "0.5", "end small") + text(left - 6, floor + 4, "0", "end small")
    yield f'<path d="M{left} {floor}H{left + pace * 12}" class="line"/>'
    for t, current in enumerate(currents):
        u, fired = step(u, fired, torch.tensor([current]), model)
        x, potential, spiked = left + pace * t, float(u), bool(fired)
        yield box(x + 5, height(potential), 20, max(unit * potential, 0.5), "", "spike" if spiked else "ours")
        yield f'<path d="M{x + 5} {height(current):g}h20" class="line"/>'
        yield text(x + 15, floor + 18, str(t), "middle small")
        if spiked:
            yield f'<path d="M{x + 15} {floor + 28}v18" class="hot"/>'
    yield text(left - 6, floor + 42, "spikes", "end small")
    yield text(left, floor + 68, "Bars: potential U after each step; grey: the current X.", "small")
    yield text(left, floor + 84, "Dashed: threshold. Shaded: where the rectangle's gradient is not 0.", "small")


def blocks() -> Iterator[str]:
    columns = {
        "teacher": ("conv", "BN", "ReLU", "conv", "BN", "add", "ReLU"),
        "spiking": ("conv", "BN", "LIF", "conv", "BN", "add", "LIF"),
        "sew-add": ("conv", "BN", "LIF", "conv", "BN", "LIF", "add"),
        "ms": ("LIF", "conv", "BN", "LIF", "conv", "BN", "add"),
    }
    for index, (name, layers) in enumerate(columns.items()):
        left = 30 + 100 * index
        yield text(left + 27, 16, name, "middle code")
        joined = layers.index("add")
        for row, layer in enumerate(layers):
            y = 44 + 34 * row
            kind = {"LIF": "spike", "ReLU": "ours"}.get(layer, "box")
            yield box(left, y, 54, 24, layer, kind)
            yield arrow((left + 27, y - 10), (left + 27, y - 1))
        y = 44 + 34 * joined + 12
        yield arrow((left + 27, 30), (left - 10, 30), (left - 10, y), (left - 1, y))
        yield f'<path d="M{left + 27} 24V34" class="line"/>'


def main() -> None:
    svg("method", "Eight steps from a teacher's file to a trained spiking network", 416, method())
    svg("pairing", "Which of the teacher's six blocks the target's two take, under each rule", 236, pairing())
    svg("looping", "A tensor of 3 by 2 kernels looped to 5 by 3", 226, looping())
    svg("neuron", "Potential and spikes of a leaky neuron over twelve steps", 284, neuron())
    svg("blocks", "A residual block of the teacher, and the three kinds it may become", 290, blocks())


if __name__ == "__main__":
    main()
