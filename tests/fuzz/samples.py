"""A small sound sample of every kind of input, how its files are mutated, and the command that reads it.

To fuzz another kind, add its row to :data:`KINDS`: what writes a sound sample into a folder, the mutator of each of its
files, and the command, run in that folder. Samples are made by code, so no corpus is kept in the repository.
"""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from idsnn_convert.api import Settings, convert
from idsnn_convert.passes.resnet.spec import ResNetSpec
from idsnn_convert.passes.trace import exported
from idsnn_convert.runtime.ann_file import AnnFile, save_ann
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.teacher_cache import RememberingTeacher, TeacherCache
from tests.fuzz.containers import pickle_changed, safetensors_changed, write_zip, zip_changed
from tests.fuzz.formats import hdf5_changed, lines_changed, onnx_changed, parquet_changed
from tests.fuzz.odd import Bytes, bytes_changed, json_changed, some_of, text_of, toml_changed
from tests.idsnn_convert import files
from tests.passes.families.renamed import lively
from tests.passes.made import network, spec

SPEC = spec((1, 1))
SHAPE = SPEC.input_shape
CONVERT = ("convert", "teacher", "--target", "same", "-T", "2", "-o", "student.safetensors", "--report", "student.html")
TARGET = ("convert", "teacher", "--target", "target.toml", "-o", "made.safetensors")
EVALUATE = ("evaluate", "student.safetensors", "--normalisation", "0.5/0.5", "--data")
COLOURED = ("--normalisation", "0.5,0.5,0.5/0.2,0.2,0.2")


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        make: writes a sound sample into a folder.
        mutated: file of the sample -> its mutator; one of them is changed at a time.
        command: arguments of ``idsnn`` that read the sample; or, behind ``call``, one of :data:`tests.fuzz.worker.CALLS`.
        needs: module without which there is no such sample.
        words: changes the command line instead of a file.
    """

    make: Callable[[Path], None]
    mutated: Mapping[str, Bytes]
    command: tuple[str, ...]
    needs: str = "torch"
    words: Callable[[Random, tuple[str, ...]], tuple[str, ...]] | None = field(default=None, repr=False)


def _module() -> nn.Module:
    return lively(SPEC).eval()


def _state(folder: Path) -> None:
    torch.save({"state_dict": _module().state_dict(), "epoch": 3, "args": {"lr": 0.1}}, folder / "teacher")


def _legacy(folder: Path) -> None:
    torch.save(_module().state_dict(), folder / "teacher", _use_new_zipfile_serialization=False)


def _whole(folder: Path) -> None:
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    torch.save(nn.Sequential(*layers).eval(), folder / "teacher")


def _script(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript; its files remain
        torch.jit.trace(_module(), torch.zeros(2, *SHAPE)).save(str(folder / "teacher"))


def _program(folder: Path) -> None:
    with (folder / "teacher").open("wb") as file:
        torch.export.save(exported(_module(), SHAPE), file)


def _onnx(folder: Path) -> None:
    from tests.passes.load.onnx.made import export

    (folder / "teacher").write_bytes(export(_module(), SHAPE))


def _onnx_beside(folder: Path) -> None:
    import onnx

    _onnx(folder)
    model = onnx.load(str(folder / "teacher"))
    onnx.save(model, str(folder / "teacher"), save_as_external_data=True, location="weights.bin", size_threshold=0)


def _safetensors(folder: Path) -> None:
    save_file(_module().state_dict(), folder / "teacher", {"format": "pt"})


def _ann(folder: Path) -> None:
    made = network(SPEC)
    save_ann(folder / "teacher", AnnFile("small", made.graph, made.tensors, {"name": "x", "mean": [0.5] * 3, "std": [0.2] * 3}))


def _student(folder: Path, described: ResNetSpec = SPEC) -> None:
    torch.save({"state_dict": lively(described).state_dict()}, folder / "teacher")
    size = described.input_size
    convert(folder / "teacher", "same", folder / "student.safetensors", settings=Settings(time_steps=2), input_size=size)


def _nir(folder: Path) -> None:
    import nir

    from idsnn_convert.runtime.export.nir.write import to_nir

    _student(folder)
    nir.write(folder / "network.nir", to_nir(read(folder / "student.safetensors")))


def _recipe(folder: Path) -> None:
    from idsnn_convert.runtime.recipe import load_recipe

    (folder / "recipe.toml").write_text(load_recipe("idsnn").to_toml())


def _target(folder: Path) -> None:
    _state(folder)
    (folder / "target.toml").write_text(
        'name = "thin"\nblock = "basic"\ndepths = [1, 2]\nwidths = [4, 8]\nstrides = [1, 2]\nshortcut = "projection"\n'
        "[stem]\nwidth = 4\nkernel = 3\npool = false\n"
    )


def _pairs(folder: Path) -> None:
    _target(folder)
    (folder / "pairs.toml").write_text(
        'default = "relative"\n"stage1.block0" = "stage1.block0"\nstage2.block0 = "stage2.block0"\n'
    )


CIFAR = spec((1, 1), classes=10, input_size=32)
FASHION = spec((1, 1), classes=10, input_size=28, in_channels=1)


def _cifar(folder: Path) -> None:
    _student(folder, CIFAR)
    rows = np.random.default_rng(0).integers(0, 256, (4, 3073), dtype=np.uint8)
    rows[:, 0] %= 10
    rows.tofile(folder / "test_batch.bin")


def _cifar_pickles(folder: Path) -> None:
    _student(folder, CIFAR)
    images = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    batch = {b"batch_label": b"testing", b"data": images, b"labels": [3, 1, 0, 9], b"filenames": [b"a.png"] * 4}
    (folder / "test_batch").write_bytes(pickle.dumps(batch, protocol=2))


def _fashion(folder: Path) -> None:
    _student(folder, FASHION)
    files.data(folder, 4, 4)
    plain = folder / "t10k-images-idx3-ubyte"
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(plain.read_bytes()))
    labels = folder / "t10k-labels-idx1-ubyte"
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels.read_bytes()))


def _images(folder: Path) -> None:
    from PIL import Image

    _student(folder, spec((1, 1), classes=2))
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for name, ending in (("cat", "png"), ("dog", "jpg"), ("dog", "tif"), ("cat", "webp")):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / part / name / f"1.{ending}")


def _tiny_imagenet(folder: Path) -> None:
    from PIL import Image

    _student(folder, spec((1, 1), classes=2))
    (folder / "val" / "images").mkdir(parents=True)
    for k in range(2):
        Image.new("RGB", (8, 8), (k, 9, 9)).save(folder / "val" / "images" / f"{k}.JPEG")
    (folder / "val" / "val_annotations.txt").write_text("0.JPEG\tn01\t0\t0\t8\t8\n1.JPEG\tn02\t0\t0\t8\t8\n")


def _parquet(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    _student(folder, spec((1, 1), classes=2))
    kept = io.BytesIO()
    Image.new("RGB", (8, 8)).save(kept, "PNG")
    images = pa.array(
        [{"bytes": kept.getvalue(), "path": "a.png"}] * 4, pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    notes = {"huggingface": '{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}'}
    table = pa.table({"image": images, "label": pa.array([0, 1, 0, 1])})
    pq.write_table(table.replace_schema_metadata(notes), folder / "test.parquet")


def _run(folder: Path) -> None:
    _student(folder, FASHION)
    data = files.data(folder / "data", 16, 8)
    small = ("--epochs", "1", "--set", "run.batch_size=16", "--normalisation", "0.5/0.5", "--recipe", "baseline")
    files.done("train", folder / "student.safetensors", "--data", data, "--out", folder / "run", *small)


def _logits(folder: Path) -> None:
    teacher = RememberingTeacher(nn.Flatten(), TeacherCache(folder, ""), "logits")
    teacher(torch.zeros(2, 1, 2, 2))
    teacher.publish()
    (written,) = (folder / "logits").iterdir()
    written.rename(written.with_name("kept.safetensors"))


def _timm(folder: Path) -> None:
    import timm

    torch.save(timm.create_model("resnet10t", num_classes=2).state_dict(), folder / "teacher")


def _archives(folder: Path) -> None:
    (folder / "made.zip").write_bytes(write_zip({"set/train/a.txt": b"a" * 50, "set/b.txt": b"b"}))
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name in ("set/a", "set/b"):
            told = tarfile.TarInfo(name)
            told.size = 3
            tar.addfile(told, io.BytesIO(b"abc"))
    (folder / "made.tar").write_bytes(made.getvalue())


def _gzipped(how: Bytes) -> Bytes:
    return lambda rng, data: (
        gzip.compress(how(rng, gzip.decompress(data)), 1) if rng.random() < 0.7 else bytes_changed(rng, data)
    )


def _tar_changed(rng: Random, data: bytes) -> bytes:
    """The names and kinds of its members, or the bytes."""
    if rng.random() < 0.5:
        return bytes_changed(rng, data)
    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in old:
            if rng.random() < 0.6:
                member.name = text_of(rng).replace("\0", "").replace("\ud800", "?") or "x"
                member.type = rng.choice((tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE))
                member.linkname = "/etc/passwd"
            new.addfile(member, io.BytesIO(b"abc"))
    return made.getvalue()


def _words_changed(rng: Random, words: tuple[str, ...]) -> tuple[str, ...]:
    """One word behind the command replaced, or an option with an odd value put in."""
    made = list(words)
    odd = rng.choice(
        (text_of(rng), "-1", "0", "1e400", "nan", str(10**30), "=", ":", "a:b", "cifar10:.", "teacher", "timm:x@teacher")
    )
    odd = odd.replace("\0", "").replace("\ud800", "?").replace("/etc/passwd", "../../x")
    if rng.random() < 0.5:
        made[rng.randrange(1, len(made))] = odd
    else:
        made[1:1] = [rng.choice(OPTIONS), odd]
    return tuple(made)


OPTIONS = (
    "--target", "--match", "--report", "--data", "--arch", "--input-size", "--width", "--tau", "--decay", "--v-threshold",
    "--seed", "--neuron", "--block", "--stem", "--encoder", "--surrogate", "--surrogate-width", "--scale", "--head", "-T",
)  # fmt: skip

ZIPPED = zip_changed({".pkl": pickle_changed, ".json": json_changed, ".pt": bytes_changed})
SCRIPT = zip_changed({".pkl": pickle_changed, ".py": bytes_changed})
PROGRAM = zip_changed(
    {".json": json_changed, ".pt": lambda rng, data: ZIPPED(rng, data) if data[:2] == b"PK" else bytes_changed(rng, data)}
)
IMAGE = some_of((0.9, bytes_changed), (0.1, lambda rng, data: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n" + data))
READ_RUN = ("report", "run", "-o", "page.html")
RESUME = (
    "train", "student.safetensors", "--data", "fashion-mnist:data", "--out", "run", "--resume", "--epochs", "1", "--set",
    "run.batch_size=16", "--normalisation", "0.5/0.5", "--recipe", "baseline",
)  # fmt: skip

KINDS: dict[str, Kind] = {
    "state dict": Kind(_state, {"teacher": ZIPPED}, CONVERT),
    "legacy state dict": Kind(_legacy, {"teacher": some_of((0.7, pickle_changed), (0.3, bytes_changed))}, CONVERT),
    "pickled module": Kind(_whole, {"teacher": ZIPPED}, ("inspect", "teacher", "--input-size", "8")),
    "TorchScript": Kind(_script, {"teacher": SCRIPT}, ("inspect", "teacher", "--input-size", "8")),
    "exported program": Kind(_program, {"teacher": PROGRAM}, ("inspect", "teacher")),
    "ONNX": Kind(_onnx, {"teacher": onnx_changed}, ("inspect", "teacher"), "onnx"),
    "ONNX, data beside": Kind(
        _onnx_beside, {"teacher": onnx_changed, "weights.bin": bytes_changed}, ("inspect", "teacher"), "onnx"
    ),
    "safetensors": Kind(_safetensors, {"teacher": safetensors_changed}, CONVERT),
    "network file": Kind(_ann, {"teacher": safetensors_changed}, CONVERT),
    "checkpoint": Kind(
        _student, {"student.safetensors": safetensors_changed}, ("inspect", "student.safetensors", "--report", "student.html")
    ),
    "checkpoint to run": Kind(
        lambda folder: _cifar(folder), {"student.safetensors": safetensors_changed}, (*EVALUATE, "cifar10:.", *COLOURED)
    ),
    "NIR": Kind(_nir, {"network.nir": hdf5_changed}, ("inspect", "network.nir"), "nir"),
    "recipe": Kind(_recipe, {"recipe.toml": toml_changed}, ("call", "recipe", "recipe.toml")),
    "target": Kind(_target, {"target.toml": toml_changed}, TARGET),
    "pairs": Kind(_pairs, {"pairs.toml": toml_changed}, (*TARGET, "--match", "pairs.toml")),
    "CIFAR batch": Kind(_cifar, {"test_batch.bin": bytes_changed}, (*EVALUATE, "cifar10:.", *COLOURED)),
    "pickled CIFAR batch": Kind(_cifar_pickles, {"test_batch": pickle_changed}, (*EVALUATE, "cifar10:.", *COLOURED)),
    "Fashion-MNIST": Kind(
        _fashion,
        {"t10k-images-idx3-ubyte.gz": _gzipped(bytes_changed), "t10k-labels-idx1-ubyte.gz": _gzipped(bytes_changed)},
        (*EVALUATE, "fashion-mnist:."),
    ),
    "image folder": Kind(
        _images,
        {f"val/{name}": IMAGE for name in ("cat/1.png", "cat/1.webp", "dog/1.jpg", "dog/1.tif")},
        (*EVALUATE, "folder:.", *COLOURED),
        "PIL",
    ),
    "Tiny-ImageNet": Kind(
        _tiny_imagenet,
        {"val/val_annotations.txt": bytes_changed, "val/images/0.JPEG": IMAGE},
        (*EVALUATE, "tiny-imagenet:.", *COLOURED),
        "PIL",
    ),
    "Parquet": Kind(_parquet, {"test.parquet": parquet_changed}, (*EVALUATE, "parquet:test.parquet", *COLOURED), "pyarrow"),
    "run folder": Kind(
        _run,
        {"run/metrics.jsonl": lines_changed, "run/recipe.toml": toml_changed, "run/last.safetensors": safetensors_changed},
        READ_RUN,
    ),
    "run state": Kind(_run, {"run/state.safetensors": safetensors_changed}, RESUME),
    "teacher's logits": Kind(_logits, {"logits/kept.safetensors": safetensors_changed}, ("call", "logits", "logits")),
    "archive of data": Kind(
        _archives,
        {"made.zip": zip_changed({".txt": bytes_changed}), "made.tar": _tar_changed},
        ("call", "unpack", "made.zip", "made.tar"),
    ),
    "command line": Kind(_state, {}, CONVERT, words=_words_changed),
    "timm name": Kind(_timm, {}, ("inspect", "timm:resnet10t@teacher", "--input-size", "32"), "timm", _words_changed),
}
