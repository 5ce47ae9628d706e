"""What keeps a teacher from converting, what to be careful of, and whether its batch norms agree with its data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from idsnn_convert.api import converted
from idsnn_convert.identify import Identification, identified
from idsnn_convert.passes.builder import RefusedError
from idsnn_convert.passes.cautions import Caution
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.load.detect import detect
from idsnn_convert.passes.load.timm_name import is_timm_name
from idsnn_convert.passes.load.types import Trust
from idsnn_convert.passes.resnet.archs import ARCHS, find_arch
from idsnn_convert.passes.targets import SAME, target_label
from idsnn_convert.passes.types import Teacher
from idsnn_convert.printed import Printed
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.errors import UserError

TRIAL = "resnet18"
"""The target tried where none is named and the teacher's own structure is no target."""


@dataclass(frozen=True)
class Problem:
    """One reason why a conversion would fail; node and source (``resnet.py:93``) where it is one of a single node."""

    reason: str
    advice: str = ""
    node: str = ""
    source: str = ""


@dataclass(frozen=True, repr=False)
class Diagnosis(Printed):
    """What was found out about one teacher.

    Attributes:
        target: the network a conversion was tried to.
        teacher: None if it could not be loaded.
        checkpoint: what the conversion would write; None if it would not.
        problems: what keeps it from converting; none exactly if ``checkpoint`` is there.
        cautions: what converts, but not to the letter.
        identification: what the data says of the teacher; None if none was given, or the teacher could not be loaded.
        path: the teacher's file.
    """

    target: str
    teacher: Teacher | None
    checkpoint: Checkpoint | None
    problems: tuple[Problem, ...] = ()
    cautions: tuple[Caution, ...] = ()
    identification: Identification | None = None
    path: Path = Path()

    def brief(self) -> str:
        if self.checkpoint is not None:
            return f"{self.path} converts to spiking {self.target}"
        count = len(self.problems)
        return f"{self.path} does not convert: {count} {'problem' if count == 1 else 'problems'}"

    def show(self) -> None:
        from idsnn_convert.report.doctor import print_diagnosis

        print_diagnosis(self, self.path)

    def _repr_html_(self) -> str:
        from idsnn_convert.report.notebook import diagnosis_html

        return diagnosis_html(self)


def examine(
    teacher: str | Path,
    *,
    target: str | None = None,
    data: str | None = None,
    arch: str | None = None,
    input_size: int | None = None,
    allow_global: Sequence[str] = (),
    unsafe_pickle: bool = False,
) -> Diagnosis:
    """Loads the teacher in a file and tries its conversion; writes nothing.

    Args:
        target: the network to try; by default the teacher's own structure, or :data:`TRIAL`.
        data: ``cifar10:DIR`` and the like, by which to tell the network that was trained, see :mod:`idsnn_convert.identify`.
        arch, input_size: what the teacher is, where its file cannot tell.
        allow_global, unsafe_pickle: what the teacher's file may call, as in :func:`idsnn_convert.api.convert`.

    Raises:
        UserError: if the file is not there, the target or data set unknown, or the data not such as the teacher takes.
            What is wrong with the teacher itself is in the diagnosis.
    """
    if target is not None:
        target_label(target)
    if arch is not None:
        find_arch(arch, "architecture")
    if not is_timm_name(teacher):
        detect(Path(teacher))
    path, dataset = Path(teacher), None if data is None else open_dataset(data)
    try:
        trust = Trust(tuple(allow_global), unsafe_pickle)
        loaded = load_teacher(teacher, arch=arch, input_size=input_size, trust=trust)
    except UserError as error:
        return Diagnosis(target or TRIAL, None, None, tuple(_problems(error)), path=path)
    found = None
    if dataset is not None:
        loaded, found = identified(loaded, dataset)
    tried = target or (loaded.arch if loaded.arch in ARCHS else TRIAL)
    try:
        checkpoint = converted(loaded, tried, Settings())
    except UserError as error:
        return Diagnosis(tried, loaded, None, tuple(_problems(error)), _as_it_is(loaded, tried), found, path)
    careful = tuple(Caution(**row) for row in checkpoint.mapping["cautions"])
    return Diagnosis(tried, loaded, checkpoint, cautions=careful, identification=found, path=path)


def _as_it_is(teacher: Teacher, tried: str) -> tuple[Caution, ...]:
    """That its own graph would convert, if it does."""
    try:
        converted(teacher, SAME, Settings())
    except UserError:
        return ()
    return () if tried == SAME else (Caution("its own graph converts, node by node", advice=f"Take --target {SAME}."),)


def _problems(error: UserError) -> Iterator[Problem]:
    """Each call that was refused, if that is what the error is about; else the error itself."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RefusedError):
            yield from (Problem(each.reason, each.advice, each.node, each.source) for each in cause.refusals)
            return
        cause = cause.__cause__
    yield Problem(error.problem, error.hint or "")
