from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from idsnn_convert.runtime.errors import UserError

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import onnx

from idsnn_convert.passes.load.onnx.file import read_onnx
from idsnn_convert.passes.load.onnx.images import Images, images
from tests.passes.load.onnx.made import computed, floats, model, node, ran, read, whole


def found(made: Any, folder: Path, input_size: int | None = None) -> Images:
    (folder / "a").write_bytes(made.SerializeToString())
    return images(read_onnx(folder / "a"), input_size)


def conv(shape: Sequence[int | str | None], channels: int = 3, kernel: int = 3) -> Any:
    return model([node("Conv", "x w", group=1)], shape, {"w": floats(4, channels, kernel, kernel)})


@pytest.mark.parametrize(
    ("made", "size", "shape", "batch", "notes"),
    [
        (conv(("N", 3, 16, 16)), None, (3, 16, 16), None, ()),
        (conv((4, 3, 16, 20)), None, (3, 16, 20), 4, ()),
        (conv(("N", 3, 16, 16)), 16, (3, 16, 16), None, ()),
        (conv(("N", 3, 16, 16)), 32, (3, 32, 32), None, ("The file is made for 16x16 images; 32x32 was asked for.",)),
        (conv((None, None, None, None)), None, (3, 32, 32), None, ("The images are 32x32.",)),
        (conv(("N", 1, "H", "W"), channels=1), None, (1, 28, 28), None, ("The images are 28x28.",)),
        (conv(("N", 3, "H", "W"), kernel=7), None, (3, 224, 224), None, ("The images are 224x224.",)),
        (conv(("N", 3, "H", "W"), kernel=7), 64, (3, 64, 64), None, ()),
    ],
)
def test_the_shape_is_the_files_or_the_usual(
    made: Any, size: int | None, shape: tuple[int, ...], batch: int | None, notes: tuple[str, ...], tmp_path: Path
) -> None:
    taken = found(made, tmp_path, size)
    assert (taken.name, taken.shape, taken.batch, taken.notes) == ("x", shape, batch, notes)


def test_images_with_channels_last_are_taken_with_channels_first(tmp_path: Path) -> None:
    made = model(
        [node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Conv", "t w")], ("N", 5, 6, 3), {"w": floats(4, 3, 3, 3)}
    )
    taken = found(made, tmp_path)
    assert (taken.shape, taken.turned) == ((3, 5, 6), ("t",))
    assert taken.notes == ("The file's images have their channels last; here they come first.",)
    canonical = read(made, tmp_path)
    assert [step.op for step in canonical.graph] == ["input", "conv2d", "output"]
    batch = torch.randn(2, 3, 5, 6)
    torch.testing.assert_close(computed(canonical, batch), ran(made, batch.permute(0, 2, 3, 1)), rtol=1e-5, atol=1e-5)


def test_an_input_that_has_a_value_is_no_input(tmp_path: Path) -> None:
    made = conv(("N", 3, 16, 16))
    made.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [4, 3, 3, 3]))
    assert found(made, tmp_path).name == "x"


def test_what_takes_no_batch_of_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its inputs: x with 2 axes"):
        found(model([node("Relu", "x")], ("N", 8)), tmp_path)
    two = conv(("N", 3, 16, 16))
    two.graph.input.append(onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, [1]))
    with pytest.raises(UserError, match="its inputs: x with 4 axes, mask with 1 axes"):
        found(two, tmp_path)
    with pytest.raises(UserError, match="input_size must be an integer of at least 1, not 0"):
        found(conv(("N", 3, 16, 16)), tmp_path, 0)


def test_a_first_convolution_whose_weights_are_made_says_nothing(tmp_path: Path) -> None:
    made = model(
        [node("Identity", "w", "v"), node("Conv", "x v"), node("Relu", "s", "z")],
        (1, 3, "H", "W"),
        {"w": floats(4, 3, 3, 3), "s": whole(1)},
    )
    assert found(made, tmp_path).shape == (3, 32, 32)
