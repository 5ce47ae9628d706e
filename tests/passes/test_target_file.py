from __future__ import annotations

import re
from pathlib import Path

import pytest

from idsnn_convert.passes import target_file
from idsnn_convert.passes.resnet.spec import ResNetSpec, Stem
from idsnn_convert.passes.target_file import read_target
from idsnn_convert.runtime.errors import UserError

SHORT = "depths = [1, 2]\nwidths = [8, 16]\n"


def read(tmp_path: Path, text: str) -> ResNetSpec:
    (tmp_path / "mine.toml").write_text(text)
    return read_target(tmp_path / "mine.toml", input_shape=(1, 28, 28), classes=7)


def test_depths_and_widths_are_enough(tmp_path: Path) -> None:
    assert read(tmp_path, SHORT) == ResNetSpec(
        "mine", (1, 2), (8, 16), (8, 16), (1, 2), Stem(8), classes=7, in_channels=1, input_size=28
    )


def test_the_example_in_the_documentation_is_what_it_says(tmp_path: Path) -> None:
    example = "\n".join(line[4:] for line in (target_file.__doc__ or "").splitlines() if line.startswith("    "))
    four = (64, 128, 256, 512)
    assert read(tmp_path, example) == ResNetSpec(
        "resnet10", (1, 1, 1, 1), four, four, (1, 2, 2, 2), Stem(64), classes=7, in_channels=1, input_size=28
    )


def test_the_rest_follows_from_what_is_said(tmp_path: Path) -> None:
    spec = read(
        tmp_path, SHORT + 'block = "bottleneck"\nresidual = "ms"\nname = "own"\nbias = false\n[stem]\nkernel = 5\npool = true\n'
    )
    assert (spec.name, spec.outputs, spec.after_add, spec.bias) == ("own", (32, 64), "none", False)
    assert spec.stem == Stem(8, kernel=5, padding=2, pool=True)
    assert read(tmp_path, SHORT + 'block = "preact-basic"').after_add == "none"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("widths = [8]", "depths is missing\nWrite one number a stage: depths = [...]."),
        (SHORT + "dephts = [1]", "unknown key 'dephts'\nDid you mean depths? Known: name, depths"),
        (SHORT + "[stem]\nwith = 3", "unknown key 'stem.with'\nDid you mean stem.width? Known: width, kernel"),
        (SHORT + "stem = 8", "stem is 8, not a table"),
        (SHORT + "classes = 10", "classes is not the file's to say: it is the teacher's"),
        (SHORT + "groups = 2.5", "groups must be a whole number, not 2.5"),
        (SHORT + "groups = true", "groups must be a whole number, not True"),
        (SHORT + "bias = 1", "bias must be true or false, not 1"),
        (SHORT + "block = 3", "block must be text in quotes, not 3"),
        (SHORT + "strides = 2", "strides must be a list of whole numbers, not 2"),
        (SHORT + "strides = [1, true]", "strides must be a list of whole numbers"),
        (SHORT + 'block = "dense"', "unknown block 'dense'\nKnown: basic"),
        ("depths = [1]\nwidths = [8, 16]", "one depth, width, output and stride"),
        ("depths = []\nwidths = []", "one depth, width, output and stride"),
        ("depths = [1000000]\nwidths = [8]", "depths has a number that is out of all proportion: 1000000"),
        ("depths = [2000]\nwidths = [8]", "2,000 blocks are too many; at most 700"),
        ("depths = [400, 400]\nwidths = [8, 8]", "800 blocks are too many"),
        (f"depths = {[1] * 17}\nwidths = {[8] * 17}", "17 stages are too many; at most 16 are built"),
        (f"depths = [1]\nwidths = [{'9' * 400}]", "widths has a number that is out of all proportion: 99999999999999999999"),
        ("depths = [1]\nwidths = [8]\n[stem]\nkernel = 100000", "stem.kernel = 100000 is out of all proportion"),
        ("depths = [1]\nwidths = [8]\n[stem]\nkernel = 50001", "it describes a network of some 20,000,800,712 weights"),
        ("depths = [700]\nwidths = [60000]", "it describes a network of some 27,720,000,540,000 weights; at most 268,435,456"),
        (SHORT + "[stem]\nwidth = 0", "stem width must be an integer of at least 1"),
    ],
)
def test_a_wrong_description_is_told_with_its_key(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError, match=rf"mine.toml: .*{re.escape(told)}"):
        read(tmp_path, text)
