"""Compiles each kernel for an NVIDIA H100 or H200, bfloat16 maps and T from the command line, without one at hand.

A line each, first of those that carry no potentials, then of those that do: the kernel, what the compiler made of it, and how
it goes through global memory.
"""

from __future__ import annotations

import re
import sys
from itertools import product
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from idsnn_convert.runtime import triton_kernels as ours

POINTERS = {
    "x": "*bf16", "residual": "*bf16", "spikes": "*bf16", "grad": "*bf16", "dx": "*bf16", "kept": "*bf16", "code": "*u8",
    "scale": "*fp32", "shift": "*fp32", "mean": "*fp32", "partial": "*fp32", "a": "*fp32", "b": "*fp32", "c": "*fp32",
}  # fmt: skip
POTENTIALS = dict.fromkeys(("start", "end", "dend", "dstart"), "*fp32")
NUMBERS = ("count", "rows", "tiles")
CONSTANTS = {
    "V": 0.5, "DECAY": 0.25, "HARD": True, "WIDTH": 0.5, "DAMPING": 1.0, "HEIGHT": 1.0, "CHANNELS": 64, "ONCE": False,
    "NORM": True, "RESIDUAL": True, "KEPT": True, "SLOPES": False, "SURROGATE": "rectangle", "WIDE": tl.float32,
    "BLOCK": ours.BLOCK, "ROWS": ours.TILE[0], "COLUMNS": ours.TILE[1], "slopes": None,
    **dict.fromkeys(POTENTIALS),
}  # fmt: skip


def compiled(kernel: Any, steps: int, carries: bool) -> Any:
    constants = {**CONSTANTS, "STEPS": steps, "CARRIES": carries, "STARTED": carries}
    pointers = {**POINTERS, **POTENTIALS} if carries else POINTERS
    kinds = {name: pointers.get(name, "i32" if name in NUMBERS else "constexpr") for name in kernel.arg_names}
    places = {name: (place,) for place, name in enumerate(kernel.arg_names)}
    source = ASTSource(
        fn=kernel,
        signature=kinds,
        constexprs={places[name]: constants[name] for name, kind in kinds.items() if kind == "constexpr"},
        attrs={places[name]: [["tt.divisibility", 16]] for name, kind in kinds.items() if kind != "constexpr"},
    )
    return triton.compile(source, target=GPUTarget("cuda", 90, 32))


if __name__ == "__main__":
    for carries, kernel in product((False, True), (ours._forward_kernel, ours._gradients_kernel, ours._sums_kernel)):
        made = compiled(kernel, int(sys.argv[1]), carries)
        print(kernel.__name__, *made.asm, *sorted(set(re.findall(r"(?:ld|st)\.global[.\w]*", made.asm["ptx"]))))
