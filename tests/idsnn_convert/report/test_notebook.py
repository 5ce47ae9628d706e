from __future__ import annotations

from pathlib import Path

from idsnn_convert.examine import Diagnosis, Problem
from idsnn_convert.formats import Exported
from idsnn_convert.learn import Training
from idsnn_convert.normalised import Normalised
from idsnn_convert.report.notebook import diagnosis_html, evaluation_html, export_html, teacher_html, training_html
from idsnn_convert.runtime.evaluate import Evaluation
from idsnn_convert.runtime.export.types import Stage
from idsnn_convert.runtime.normalisation import KNOWN
from idsnn_convert.runtime.recipe import Recipe
from idsnn_convert.runtime.trainer import TrainResult
from tests.idsnn_convert.report.test_html import Reader

BAD = "<script>x</script>"


def read(markup: str) -> str:
    found = Reader(markup)
    assert "script" not in found.tags
    return found.text


def test_what_does_not_convert_says_why() -> None:
    found = Diagnosis("resnet8", None, None, (Problem(BAD, "Do that."),), path=Path(BAD))
    assert read(diagnosis_html(found)) == f"{BAD} does not convert: 1 problemwhatwhat to doproblem{BAD}Do that."


def test_an_export_that_failed() -> None:
    found = Exported(None, 0, (Stage("layers", BAD, False),))
    assert read(export_html(found)) == f"nothing written; 0 of 1 comparisons passedcomparedfoundlayersFAILED{BAD}"


def test_an_evaluation_with_and_without_time() -> None:
    chosen = Normalised(KNOWN["cifar10"], "as asked")
    plain = read(evaluation_html(Evaluation(50.0, 1.25, 10, 2.0), chosen))
    assert plain == "top-1 50.00 %, loss 1.250010 images, cifar10 normalisation, 5 images/s"
    spiking = Evaluation(50.0, 1.25, 10, 2.0, (40.0, 50.0), 90.0, (80.0, 90.0))
    assert read(evaluation_html(spiking, chosen)).endswith("Ttop-1 %140.00250.00")


def test_a_run_with_a_moving_average() -> None:
    result = TrainResult(3, 60.0, 2, 55.0, Path("run/best"), Path("run/last"), 61.0, Path("run/best_ema"))
    training = Training(result, Recipe(), Normalised(KNOWN["cifar10"], "as asked"))
    assert read(training_html(training)).endswith("moving average61.00run/best_ema")


def test_a_teacher_with_what_was_assumed() -> None:
    facts = {"arch": BAD, "family": "f", "file": "a.th", "form": "state dict", "input_shape": [3, 8, 8], "classes": 5}
    more = {"parameters": 1000, "tensors": 4, "assumptions": ["The images are 8x8."], "stages": []}
    assert "assumedThe images are 8x8." in read(teacher_html({**facts, **more}))
