"""The package's functions: what the commands do, with results that print well.

``import idsnn_convert`` gives them all, each imported when it is first asked for::

    import idsnn_convert

    made = idsnn_convert.convert("resnet32.th", "resnet20")
    idsnn_convert.train(made.path, "cifar10:DIR", "run", teacher="resnet32.th")
    print(idsnn_convert.evaluate("run/best.safetensors", "cifar10:DIR"))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idsnn_convert.api import convert, open_file
from idsnn_convert.balance import Balancing
from idsnn_convert.examine import examine as doctor
from idsnn_convert.formats import export
from idsnn_convert.learn import evaluate_file
from idsnn_convert.learn import train_file as train
from idsnn_convert.measure import measure_energy as energy
from idsnn_convert.normalised import Normalised
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.types import Teacher
from idsnn_convert.pretrained import save_pretrained
from idsnn_convert.printed import Printed
from idsnn_convert.runtime import load
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.data import Dataset
from idsnn_convert.runtime.details import DetailedEvaluation
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import Evaluation
from idsnn_convert.runtime.pretrained import from_pretrained

__all__ = [
    "Balancing",
    "Evaluated",
    "Inspected",
    "Settings",
    "UserError",
    "convert",
    "doctor",
    "energy",
    "evaluate",
    "export",
    "from_pretrained",
    "inspect",
    "load",
    "save_pretrained",
    "train",
]


@dataclass(frozen=True, repr=False)
class Inspected(Printed):
    """What :func:`inspect` found in a file."""

    path: Path
    content: Checkpoint | Teacher

    @property
    def facts(self) -> dict[str, Any]:
        """All of it as JSON-native values: what ``idsnn inspect --json`` prints."""
        from idsnn_convert.report.build import recorded
        from idsnn_convert.report.data import described, described_teacher

        if isinstance(self.content, Teacher):
            return described_teacher(self.content)
        return described(self.content, recorded(self.content, self.path))

    def brief(self) -> str:
        if isinstance(self.content, Teacher):
            return f"teacher {self.content.arch} in {self.path}"
        return f"spiking {self.content.mapping.get('target', 'network')} in {self.path}, T = {self.content.time_steps}"

    def show(self) -> None:
        from idsnn_convert.report.build import recorded
        from idsnn_convert.report.terminal import print_checkpoint, print_teacher

        if isinstance(self.content, Teacher):
            print_teacher(self.facts)
        else:
            print_checkpoint(recorded(self.content, self.path))

    def _repr_html_(self) -> str:
        from idsnn_convert.report.build import recorded
        from idsnn_convert.report.html import compact
        from idsnn_convert.report.notebook import teacher_html

        return teacher_html(self.facts) if isinstance(self.content, Teacher) else compact(recorded(self.content, self.path))


def inspect(path: str | Path, *, arch: str | None = None, input_size: int | None = None) -> Inspected:
    """Looks into a teacher's or a student's file; no code from it runs.

    Args:
        arch, input_size: what a teacher is, where its file cannot tell.

    Raises:
        UserError: if it is neither.
    """
    return Inspected(Path(path), open_file(path, arch=arch, input_size=input_size))


@dataclass(frozen=True, repr=False)
class Evaluated(Printed):
    """What :func:`evaluate` measured, and how its images were normalised."""

    evaluation: Evaluation
    normalised: Normalised

    @property
    def top1(self) -> float:
        """Images whose highest logit is their label's, in percent."""
        return self.evaluation.top1

    @property
    def facts(self) -> dict[str, Any]:
        """All of it as JSON-native values: what ``idsnn evaluate --json`` prints."""
        from idsnn_convert.report.data import described_evaluation
        from idsnn_convert.report.evaluation import described_details

        found = self.evaluation
        more = described_details(found) if isinstance(found, DetailedEvaluation) else {}
        return {**described_evaluation(found, self.normalised), **more}

    def brief(self) -> str:
        return f"top-1 {self.top1:.2f} % of {self.evaluation.images:,} images"

    def show(self) -> None:
        from idsnn_convert.report.evaluation import print_details
        from idsnn_convert.report.terminal import print_evaluation

        print_evaluation(self.evaluation, self.normalised.normalisation.name)
        if isinstance(self.evaluation, DetailedEvaluation):
            print_details(self.evaluation)

    def _repr_html_(self) -> str:
        from idsnn_convert.report.notebook import evaluation_html

        return evaluation_html(self.evaluation, self.normalised)


def evaluate(path: str | Path, data: str | Dataset, **choices: Any) -> Evaluated:
    """Measures the student or teacher in a file on a data set's test images.

    Args:
        data: ``cifar10:DIR`` and the like, or a data set that is open.
        choices: those of :func:`idsnn_convert.learn.evaluate_file`: ``time_steps``, ``limit``, ``details`` and more.

    Raises:
        UserError: if file, data and choices do not go together.
    """
    return Evaluated(*evaluate_file(path, data, **choices))
