"""What operations cost: named models, each with its source and what it leaves out.

An energy model turns counts (:mod:`idsnn_convert.runtime.synops`) into joules. None of them is a measurement of the
network at hand; they rank networks under one set of assumptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class EnergyModel:
    """Energies in picojoules.

    Attributes:
        mac: a multiplication and accumulation; None where the hardware has none: then layers with analog inputs are
            left out of its energies.
        ac: an accumulation, or a synaptic event.
        memory: whether fetching the weight is part of it.
    """

    mac: float | None
    ac: float
    memory: bool
    source: str
    assumes: str

    def joules(self, macs: float, acs: float) -> float | None:
        """Energy of so many operations; None for multiplications alone where the hardware has none."""
        if self.mac is None:
            return 1e-12 * self.ac * acs if acs else None
        return 1e-12 * (self.mac * macs + self.ac * acs)


HOROWITZ = "Horowitz, ISSCC 2014, figure 1.1.9: 45 nm, 0.9 V"

MODELS: Mapping[str, EnergyModel] = {
    "horowitz-45nm-fp32": EnergyModel(
        4.6, 0.9, False, HOROWITZ, "float32: multiplication 3.7 pJ, addition 0.9 pJ; arithmetic alone, no memory, no control"
    ),
    "horowitz-45nm-int8": EnergyModel(
        0.23, 0.03, False, HOROWITZ, "8-bit integers: multiplication 0.2 pJ, addition 0.03 pJ; arithmetic alone"
    ),
    "horowitz-45nm-fp32-sram": EnergyModel(
        54.6,
        50.9,
        True,
        HOROWITZ,
        "as fp32, and every operation reads its 32-bit weight from a 1 MB SRAM (100 pJ for 64 bits): no reuse at all",
    ),
    "loihi": EnergyModel(
        None,
        23.6,
        True,
        "Davies et al., IEEE Micro 38(1), 2018, table 1: 14 nm, 0.75 V",
        "a synaptic operation at its least, 23.6 pJ; neuron updates, routing and layers with analog inputs left out",
    ),
    "truenorth": EnergyModel(
        None,
        26.0,
        True,
        "Merolla et al., Science 345, 2014: 28 nm, 0.775 V",
        "26 pJ a synaptic event, from whole networks at a mean rate of 20 Hz; layers with analog inputs left out",
    ),
}
"""Name -> model."""
