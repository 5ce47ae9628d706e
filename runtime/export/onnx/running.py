"""Running an exported model in onnxruntime as the runtime would run its network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from onnx import ModelProto

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.onnx.emitter import Array
from idsnn_convert.runtime.export.onnx.forms import IMAGES, LOGITS, NEXT, PER_STEP, TIME_STEPS
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.readout import Readout


class Running:
    """A model in a session: images (B, C, H, W) -> logits of each step (T, B, K), and the exposed neurons' spikes.

    Attributes:
        providers: what onnxruntime runs it on, the preferred one first.
    """

    def __init__(self, model: ModelProto, form: str, graph: Graph, threads: int = 0, exposed: Sequence[str] = ()) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        data = model.SerializeToString()
        self._session = onnxruntime.InferenceSession(data, options, providers=onnxruntime.get_available_providers())
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        self._form, self._graph, self.exposed = form, graph, tuple(exposed)
        self._results = [result.name for result in self._session.get_outputs()]
        self._states = [taken.name for taken in self._session.get_inputs()][1:] if form == "step" else []

    def __call__(self, images: Array, time_steps: int) -> tuple[Array, dict[str, Array]]:
        """Logits (T, B, K); neuron -> spikes (T*B, ...), time-major."""
        if self._form == "step":
            return self._stepped(images, time_steps)
        if self._form == "ann":
            return self._session.run([LOGITS], {IMAGES: images})[0][None], {}
        feed = {IMAGES: images}
        if self._form == "scan":
            feed[TIME_STEPS] = np.asarray(time_steps, dtype=np.int64)
        logits, *spikes = self._session.run([PER_STEP, *self._shown()], feed)
        return logits, {name: _folded(value, self._form) for name, value in zip(self.exposed, spikes, strict=True)}

    def answer(self, images: Array, time_steps: int, readout: Readout) -> Array:
        """(B, K): what the model itself gives; of a single step's, ``readout`` makes it."""
        if self._form == "step":
            return readout(torch.from_numpy(self(images, time_steps)[0])).numpy()
        feed = {IMAGES: images} | ({TIME_STEPS: np.asarray(time_steps, np.int64)} if self._form == "scan" else {})
        found: Array = self._session.run([LOGITS], feed)[0]
        return found

    def _shown(self) -> list[str]:
        return self._results[len(self._results) - len(self.exposed) :]

    def _stepped(self, images: Array, time_steps: int) -> tuple[Array, dict[str, Array]]:
        states = {state: self._zeros(state, images) for state in self._states}
        logits, spikes = [], []
        for _ in range(time_steps):
            found = dict(zip(self._results, self._session.run(self._results, {IMAGES: images, **states}), strict=True))
            states = {state: found[state + NEXT] for state in self._states}
            logits.append(found[LOGITS])
            spikes.append([found[name] for name in self._shown()])
        joined = [np.concatenate(steps) for steps in zip(*spikes, strict=True)]
        return np.stack(logits), dict(zip(self.exposed, joined, strict=True))

    def _zeros(self, state: str, images: Array) -> Array:
        shape = self._graph[state.removesuffix(".v")].shape
        if images.shape[1:] != self._graph.input_shape:
            raise UserError(f"form step is run here on images of {self._graph.input_shape} alone, not of {images.shape[1:]}")
        return np.zeros((len(images), *shape), np.float32)


def _folded(value: Array, form: str) -> Array:
    """Spikes (T, B, ...) of a loop as (T*B, ...)."""
    return value.reshape(-1, *value.shape[2:]) if form == "scan" else value
