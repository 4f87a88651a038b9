"""How a seeded fault is declared: one pair of ports, what is wrong, and what the harness must say of it.

A row module holds functions under `@fault(...)`. Each takes `faulty` and returns the keyword arguments of
`parity.check` for the right port (False) or the one with the fault (True); the lines that compute the wrong
thing carry the comment `# FAULT: <id>`. `cases()` collects them all.
"""

import functools
import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import torch

HERE = Path(__file__).parent

Arrays = dict[str, np.ndarray]
Convert = Callable[[Arrays], Mapping[str, Any]]
"""From a state dict to the JAX leaves by path, as a careful user converts them."""

CAUSES = (
    *("epsilon", "constant", "activation", "transposed kernel", "flipped kernel", "kernel layout"),
    *("swapped weights", "gate order", "packed order", "stale weights", "padding", "stride", "dilation"),
    *("groups", "pool count", "pool mode", "axis", "reduction", "variance correction", "statistics", "mask"),
    *("scale", "order", "repeat", "missing term", "extra term", "operands", "shift", "dtype"),
    *("gradient rule", "recurrence", "selection", "broadcast"),
)
STAGES = ("forward", "gradients", "weights")
MODES = ("float64", "float32", "bfloat16", "accelerator", "compiled")


class Case(NamedTuple):
    """One row of the catalogue as a right and a faulty port.

    Attributes:
        id: of the catalogue, e.g. "A01".
        title: what is wrong, in a few words.
        pair: `pair(faulty)` -> keyword arguments of `parity.check`.
        cause: the name that the diagnosis must give; None where the cause is not local.
        stage: where it must fail: "forward", "gradients" (forward agrees) or "weights" (wrong `params`).
        module: PyTorch's module path at the fault; "" for the root or any.
        tensors: PyTorch tensors of which the weights stage must fail one; with wrongly converted `params`.
        mode: in which runs it shows; "float64" on any CPU.
        benign: a control, which must not get the verdict fail.
        convert: only for the self-check: PyTorch's weights as JAX leaves by path; None: the names are equal.
        also: other causes that describe the same fault as truly.
    """

    id: str
    title: str
    pair: Callable[[bool], dict[str, Any]]
    cause: str | None = None
    stage: str = "forward"
    module: str = ""
    tensors: tuple[str, ...] = ()
    mode: str = "float64"
    benign: bool = False
    convert: Convert | None = None
    also: tuple[str, ...] = ()


def fault(id: str, title: str, **rest: Any) -> Callable[[Callable[[bool], dict[str, Any]]], Case]:
    """Decorator that makes a case of `pair(faulty)`; keywords are the fields of `Case`."""
    return lambda pair: Case(id, title, pair, **rest)


@functools.cache
def cases() -> tuple[Case, ...]:
    """Every case of every row module beside this file, by class and number."""
    found: dict[str, Case] = {}
    for name in _row_modules():
        module = importlib.import_module(f"{__package__}.{name}")
        for case in [value for value in vars(module).values() if isinstance(value, Case)]:
            if found.setdefault(case.id, case) is not case:
                raise ValueError(f"two cases have the id {case.id}; the second is in {name}.py")
    return tuple(sorted(found.values(), key=lambda case: (case.id[0], int(case.id[1:]))))


def fault_lines(id: str) -> tuple[tuple[str, int], ...]:
    """(file, line number) of every line marked with this id (`# FAULT: A01`, or several: `A01, A02`)."""
    found: list[tuple[str, int]] = []
    for name in _row_modules():
        path = HERE / f"{name}.py"
        for number, line in enumerate(path.read_text().splitlines(), 1):
            mark = re.search(r"# FAULT: ([\w, ]+)", line)
            if mark and id in mark.group(1).split(", "):
                found.append((str(path), number))
    return tuple(found)


def _row_modules() -> list[str]:
    """Names of the modules beside this one, tests left out."""
    names = sorted(path.stem for path in HERE.glob("[a-z]*.py"))
    return [
        name
        for name in names
        if name not in ("declare", "conftest", "suite", "plain_runs") and not name.startswith("test_")
    ]


def randomise(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Fill every parameter and floating buffer with random numbers, and set the mode to eval.

    Biases, scales and running statistics included: at their initial zeros and ones faults hide. They are
    multiples of 2^-12, so that a sum of two (a recurrent layer's biases) is exact in float32.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = [*module.named_parameters(), *module.named_buffers()]
    with torch.no_grad():
        for name, tensor in tensors:
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            leaf = name.rpartition(".")[2]
            if "var" in leaf:
                noise = 0.5 + noise.abs()
            elif tensor.ndim >= 2:
                noise *= (tensor.shape[0] / tensor.numel()) ** 0.5  # one over the root of the fan-in
            elif "bias" in leaf or "mean" in leaf:
                noise *= 0.3
            else:
                noise = 1 + 0.3 * noise
            tensor.copy_((noise * 4096).round() / 4096)
    return module.eval()


def weights(module: torch.nn.Module) -> Arrays:
    """Parameters and floating buffers by name, as NumPy float32."""
    return {
        name: tensor.detach().numpy().copy()
        for name, tensor in module.state_dict().items()
        if tensor.is_floating_point()
    }


def shapes(tree: Any) -> Any:
    """A template: the same pytree, of float32 shapes (from arrays, tensors or tuples of numbers)."""

    def shape(leaf: Any) -> jax.ShapeDtypeStruct:
        dims = leaf if isinstance(leaf, tuple) else tuple(leaf.shape)
        return jax.ShapeDtypeStruct(dims, np.float32)

    return jax.tree.map(shape, tree, is_leaf=lambda leaf: isinstance(leaf, tuple))


def load(table: Mapping[str, str | tuple[str, tuple[int, ...]]]) -> Convert:
    """A conversion from a table: JAX path -> PyTorch name, or (name, transposition of its axes)."""

    def convert(own: Arrays) -> Arrays:
        rows = {path: (row, None) if isinstance(row, str) else row for path, row in table.items()}
        return {path: own[name].transpose(axes) if axes else own[name] for path, (name, axes) in rows.items()}

    return convert


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    """Standard normal float32 numbers, always the same."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
