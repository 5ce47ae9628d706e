"""A folder as on the Hugging Face Hub, read strictly: nothing in it may contradict anything else, and nothing is fetched.

``model.safetensors`` is the checkpoint as everywhere; ``config.json`` says what one looks for first, and the SHA-256 of
the other files; ``mapping.json`` is where every tensor came from; ``README.md`` is for people.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idsnn_convert.runtime.bounds import parsed_json
from idsnn_convert.runtime.checkpoint import Checkpoint, read, save
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.files import write_text

CONFIG, WEIGHTS, MAPPING, CARD = "config.json", "model.safetensors", "mapping.json", "README.md"
FILES = (CONFIG, WEIGHTS, MAPPING, CARD)
HASHED = (WEIGHTS, MAPPING)
FORMAT_VERSION = 1
LARGEST_CONFIG = 1 << 20
"""Bytes."""


def from_pretrained(folder: str | Path) -> Checkpoint:
    """The spiking network in a folder that :func:`write_pretrained` wrote; :func:`idsnn_convert.runtime.network` builds it.

    Raises:
        UserError: if the folder or one of its files is missing, a file is not the one whose hash ``config.json`` has, or
            ``config.json`` has a key that is unknown or missing, or says otherwise than the weights' file.
    """
    place = Path(folder)
    if not place.is_dir():
        hint = "It is the path of a folder here; nothing is downloaded."
        raise UserError(f"{place}: {'no folder' if place.exists() else 'no such folder'}", hint=hint)
    if missing := [name for name in (CONFIG, *HASHED) if not (place / name).is_file()]:
        raise UserError(f"{place} has no {missing[0]}", hint=f"A whole one has {', '.join(FILES)}: fetch it again.")
    config = _config(place / CONFIG)
    for name in HASHED:
        if (found := sha256(place / name)) != config["files"][name]:
            problem = f"{place / name} is not the file that {CONFIG} names: its SHA-256 is {found}"
            raise UserError(problem, hint="Fetch or write the whole folder again.")
    checkpoint = read(place / WEIGHTS)
    for key, value in facts(checkpoint).items():
        if config[key] != value:
            raise UserError(f"{place / CONFIG}: {key} is {config[key]!r:.80}, but in {WEIGHTS} it is {value!r:.80}")
    return checkpoint


def write_pretrained(folder: Path, checkpoint: Checkpoint, mapping: str, card: str) -> None:
    """Writes the four files into ``folder``, which is there.

    Args:
        mapping: the text of ``mapping.json``; ``card``: that of ``README.md``.

    Raises:
        UserError: if one cannot be written.
    """
    save(folder / WEIGHTS, checkpoint)
    write_text(folder / MAPPING, mapping)
    write_text(folder / CARD, card)
    config = {**facts(checkpoint), "files": {name: sha256(folder / name) for name in HASHED}}
    write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True, allow_nan=False) + "\n")


def facts(checkpoint: Checkpoint) -> dict[str, Any]:
    """What ``config.json`` says of the network, as JSON-native values."""
    graph = checkpoint.graph
    return {
        "model_type": "idsnn",
        "format_version": FORMAT_VERSION,
        "architecture": checkpoint.mapping.get("target", "network"),
        "image_shape": list(graph.input_shape),
        "num_labels": graph.output_shape[-1],
        "time_steps": checkpoint.time_steps,
        "encoder": checkpoint.encoder,
        "readout": checkpoint.readout.to_json(),
        "normalisation": None if checkpoint.normalisation is None else dict(checkpoint.normalisation),
        "neuron_layers": len(graph.of("neuron")),
    }


def sha256(path: Path) -> str:
    """Of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _config(path: Path) -> Mapping[str, Any]:
    if path.stat().st_size > LARGEST_CONFIG:
        raise UserError(f"{path} has more than {LARGEST_CONFIG:,} bytes")
    try:
        config = parsed_json(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON ({error})") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is no JSON object")
    if config.get("format_version") != FORMAT_VERSION:
        problem = (
            f"{path}: format version {config.get('format_version')!r:.80} is not one this release reads ({FORMAT_VERSION})"
        )
        raise UserError(problem, hint="Is there a newer idsnn-convert?")
    if wrong := sorted(config.keys() ^ KEYS):
        raise UserError(f"{path}: key {wrong[0]!r:.80} is {'missing' if wrong[0] in KEYS else 'unknown'}")
    files = config["files"]
    if not isinstance(files, dict) or files.keys() != set(HASHED):
        raise UserError(f"{path}: files must hold the SHA-256 of {' and '.join(HASHED)}, and of nothing else")
    return config


KEYS = frozenset(
    (
        *("architecture", "encoder", "files", "format_version", "image_shape", "model_type", "neuron_layers", "normalisation"),
        *("num_labels", "readout", "time_steps"),
    )
)
