"""The length of Fourier transforms: padded with zeros to more than the signal's, or not.

A product of two spectra is a convolution that wraps around at the transforms' length. One of twice the signal
does not wrap; so long convolutions are computed (Poli et al. 2023, "Hyena Hierarchy").
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.localise.comparison import Function, Value
from parity.report.kinds import CauseKind

Transform = Callable[[Array, int], Array]

FORWARD: dict[str, Transform] = {"FFT": np.fft.fft, "RFFT": np.fft.rfft}
INVERSE: dict[str, Transform] = {"IFFT": np.fft.ifft, "IRFFT": np.fft.irfft}
"""Transforms along the last axis, by LAX's names."""


def fourier_lengths(fault: Fault) -> Iterator[Change]:
    """All transforms along one axis at the fault with the reference's length, what comes back cut to fit."""
    params = {n: fault.candidate.evaluations[n].params for n in fault.active if fault.operation(n) == "fft"}
    kinds = {number: own["fft_type"].name for number, own in params.items()}
    lengths = {tuple(map(int, own["fft_lengths"])) for own in params.values()}
    if len(lengths) != 1 or not set(kinds.values()) & INVERSE.keys() or len(now := lengths.pop()) != 1:
        return
    for length in sorted(_of_reference(fault) - set(now)):
        functions: dict[int, Function] = {
            number: _forward(kind, length) if kind in FORWARD else _inverse(kind, length, now[0])
            for number, kind in kinds.items()
        }
        for number in fault.active:  # what is spread out beside a spectrum has a fixed shape
            if fault.operation(number) == "broadcast_in_dim":
                functions[number] = _broadcast(fault, number)
        text = f"the Fourier transforms have length {now[0]} in <candidate> and {length} in <reference>"
        text += ": a product of spectra wraps around at their length"
        yield Change(CauseKind.PADDING, text, functions=functions)


def _of_reference(fault: Fault) -> set[int]:
    """The lengths of the reference's transforms along one axis at the fault."""
    nodes = fault.reference.nodes
    found = set()
    for node in (nodes[t] for t in fault.reference_scope):
        if node.operation == "fft" and len(node.params["fft_lengths"]) == 1:
            found.add(int(node.params["fft_lengths"][0]))
        elif node.operation == "_fft_c2r" and len(node.params["dim"]) == 1:
            found.add(int(node.params["last_dim_size"]))
        elif node.operation in ("_fft_r2c", "_fft_c2c") and len(node.params["dim"]) == 1:
            found.add(int(nodes[node.inputs[0]].value.shape[node.params["dim"][0]]))
    return found


def _forward(kind: str, length: int) -> Function:
    return lambda given: [FORWARD[kind](np.asarray(given[0]), length)]


def _inverse(kind: str, length: int, kept: int) -> Function:
    """An inverse transform whose result is cut, or padded with zeros, to the length that is read."""

    def compute(given: Sequence[Value]) -> Sequence[Value]:
        signal = INVERSE[kind](np.asarray(given[0]), length)[..., :kept]
        return [np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, kept - signal.shape[-1])])]

    return compute


def _broadcast(fault: Fault, number: int) -> Function:
    """`broadcast_in_dim` of a value whose axes may have other lengths than it was traced with."""
    params = fault.candidate.evaluations[number].params

    def compute(given: Sequence[Value]) -> Sequence[Value]:
        array: Array = np.asarray(given[0])
        shape, axes = list(params["shape"]), [1] * len(params["shape"])
        for axis, size in zip(params["broadcast_dimensions"], array.shape, strict=True):
            axes[axis] = size
            shape[axis] = size if size != 1 else shape[axis]
        return [np.broadcast_to(array.reshape(axes), shape)]

    return compute
