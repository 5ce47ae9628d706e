"""A teacher's logits on disk: a batch that it has answered before is not given to it again.

Runs over the same images with the same seed, batch size and augmentation show their teacher the same batches in each epoch,
however they differ otherwise: student, loss, learning rate, length. A batch is known by the SHA-256 of its pixels as the
teacher is given them, so no setting has to be thought of for an answer to be right; the folder it is kept in is named after
all else that the answer depends on.

Whole batches are kept, in the type the teacher gave, and not images: in another batch an image's logits may differ in their
last bit. So a run finds to the bit what it would have computed, wherever the same batch gives the same bits twice, as on CPUs;
and neither kills nor other runs nor resuming change that.

A file holds the batches of some time, is written all or nothing under a name made of its content, and never changes. Any
number of processes may write into one folder.

Letters: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from idsnn_convert.runtime import winograd
from idsnn_convert.runtime.convolution import Convolution
from idsnn_convert.runtime.distributed import ALONE, World
from idsnn_convert.runtime.eight_bit import EightBit
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.files import cannot_write
from idsnn_convert.runtime.objective import own_precision
from idsnn_convert.runtime.recipe import Run
from idsnn_convert.runtime.seal import digest
from idsnn_convert.runtime.sealed_file import read_sealed, sealed_names, write_sealed

KEY = "idsnn_teacher_logits"
FORMAT_VERSION = 1
FILES = "*.safetensors"

LIMIT = 4 << 30
"""Bytes that a cache may take if nothing is said."""

AT_ONCE = 64 << 20
"""Bytes of logits that are gathered in memory at most before they are written."""

IN_MEMORY = 2
"""Files whose logits are held in memory: an epoch's batches are read as they were written, one file after the other."""

DIGITS = 32
"""Hexadecimal digits of SHA-256 that stand for a batch, a file, a teacher."""


@dataclass(frozen=True)
class TeacherCache:
    """Where a teacher's logits are kept.

    Attributes:
        folder: made if it is not there; teachers share it.
        graph: the teacher's, as text: what it computes with its tensors.
        limit: bytes that all files in the folder may take together; then nothing is added.
        told: receives what becomes of it, a line each.
    """

    folder: Path
    graph: str
    limit: int = LIMIT
    told: Callable[[str], None] = field(default=lambda line: None, repr=False, compare=False)

    def of(self, teacher: nn.Module, run: Run, device: torch.device) -> RememberingTeacher:
        """``teacher``, which must give logits (B, K) that depend on the images alone, asked only what is not known.

        Args:
            run: says in which precision and layout it is asked.
            device: where it is.

        Raises:
            UserError: if the folder cannot be made.
        """
        facts = {
            "graph": self.graph,
            "precision": own_precision(run.precision, run.teacher_precision),
            "channels_last": run.channels_last,
            "winograd": device.type == "cpu" and _quick(teacher) and winograd.available(),
            "processor": _processor(device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "scales": [module.scales for module in teacher.modules() if isinstance(module, EightBit)],
        }
        return RememberingTeacher(teacher, self, digest(teacher.state_dict(), json.dumps(facts, sort_keys=True)))


def _processor(device: torch.device) -> list[str]:
    """What decides which kernels run there."""
    if device.type == "cuda":
        return [torch.cuda.get_device_name(device), torch.get_float32_matmul_precision()]
    features: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # which older torch has not
    return [torch.backends.cpu.get_cpu_capability(), *sorted(name for name, there in features.items() if there is True)]


def _quick(teacher: nn.Module) -> bool:
    """Whether it has convolutions that are computed otherwise than as layers where that is available."""
    return any(isinstance(module, Convolution) and module.quick for module in teacher.modules())


class RememberingTeacher(nn.Module):
    """Made by :meth:`TeacherCache.of`; called as the teacher is.

    Args:
        of: hexadecimal, of the teacher and all that its answers depend on besides the images.
    """

    def __init__(self, teacher: nn.Module, cache: TeacherCache, of: str) -> None:
        super().__init__()
        self.teacher, self._cache, self._of = teacher, cache, of
        self._place = cache.folder / of[:DIGITS]
        self._batches: dict[str, Path] = {}  # where the logits of each are
        self._looked_into: set[Path] = set()
        self._unusable: set[Path] = set()
        self._read: dict[Path, dict[str, Tensor]] = {}
        self._new: dict[str, Tensor] = {}
        self._keeps = True
        self._asked = self._found = 0
        try:
            self._place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self._place, error) from error

    def forward(self, images: Tensor) -> Tensor:
        """The teacher's logits (B, K) of ``images`` (B, C, H, W)."""
        batch = digest({"images": images}, str(images.stride()))[:DIGITS]  # kernels differ with the layout in memory
        logits = self._known(batch, len(images))
        self._asked += len(images)
        if logits is not None:
            self._found += len(images)
            return logits.to(images.device)
        logits = self.teacher(images)
        assert isinstance(logits, Tensor), "maps are not kept"
        assert logits.dim() == 2, "a spiking teacher's logits are not kept"
        self._keep(batch, logits)
        return logits

    def begin_epoch(self) -> None:
        """Counts anew, and finds what other runs have written meanwhile."""
        self._asked = self._found = 0
        self._look()

    def found_percent(self, world: World = ALONE) -> float:
        """Of the images of this epoch, in all processes, those whose logits were there."""
        found, asked = world.total(torch.tensor([self._found, self._asked], dtype=torch.float64)).tolist()
        return float(100 * found / max(asked, 1))

    def publish(self) -> None:
        """Writes what is new, if there is room. Where it cannot, the run goes on and keeps no more."""
        new, self._new = self._new, {}
        if not new:
            return
        if _size(self._cache.folder) + _bytes(new) > self._cache.limit:
            limit = f"{self._cache.limit / 2**30:g} GiB"
            self._keep_no_more(f"{self._cache.folder} has reached its limit of {limit}; remove it, or raise the limit")
            return
        path = self._place / f"{digest(new)[:DIGITS]}.safetensors"
        try:
            write_sealed(path, KEY, new, {"format_version": FORMAT_VERSION, "of": self._of})
        except UserError as error:
            self._keep_no_more(error.problem)
            return
        self._looked_into.add(path)
        self._batches |= dict.fromkeys(new, path)

    def _keep(self, batch: str, logits: Tensor) -> None:
        if self._keeps:
            self._new[batch] = logits.detach().cpu()
            if _bytes(self._new) >= AT_ONCE:
                self.publish()

    def _known(self, batch: str, images: int) -> Tensor | None:
        """What was kept for so many images, if it can be read."""
        if batch in self._new:
            return self._new[batch]
        while (path := self._batches.get(batch)) is not None:
            if (content := self._content(path)) is not None:
                logits = content.get(batch, torch.empty(0))
                return logits if logits.dim() == 2 and len(logits) == images else None
        return None

    def _look(self) -> None:
        """Which batches are in the files not looked into yet."""
        for path in sorted(set(self._place.glob(FILES)) - self._looked_into):
            self._looked_into.add(path)
            try:
                self._batches |= dict.fromkeys(sealed_names(path), path)
            except UserError as error:
                self._pass_over(path, error)

    def _content(self, path: Path) -> dict[str, Tensor] | None:
        """The logits in a file; None, and it is known no more, if they are not what was written."""
        if path not in self._read:
            try:
                self._read[path] = self._checked(path)
            except UserError as error:
                self._pass_over(path, error)
                self._batches, self._looked_into = {}, set(self._unusable)
                self._look()  # other files may have some of the same batches
                return None
            for old in list(self._read)[:-IN_MEMORY]:
                del self._read[old]
        return self._read[path]

    def _checked(self, path: Path) -> dict[str, Tensor]:
        tensors, facts = read_sealed(path, KEY)
        if (facts.get("format_version"), facts.get("of")) != (FORMAT_VERSION, self._of):
            raise UserError(f"{path} holds the logits of another teacher, precision or processor")
        return tensors

    def _pass_over(self, path: Path, error: UserError) -> None:
        self._unusable.add(path)
        self._cache.told(f"teacher cache: {error.problem}; the teacher is asked instead, and the file may be removed")

    def _keep_no_more(self, why: str) -> None:
        self._keeps = False
        self._cache.told(f"teacher cache: no more logits are kept: {why}")


def _bytes(tensors: dict[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _size(folder: Path) -> int:
    """Bytes of the files of all teachers in ``folder``."""
    size = 0
    for path in folder.rglob(FILES):
        with suppress(FileNotFoundError):  # another process may have renamed it
            size += path.stat().st_size
    return size
