"""Calling models with named inputs, and naming and pairing what they return."""

import collections
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from parity.frameworks.outputs import name_outputs, pair_outputs, unnamed_outputs
from parity.frameworks.task import bind


def echo(*names: str) -> Callable[..., Any]:
    """A function of these arguments (a trailing `=` gives a default) that returns them by name."""
    arguments = ", ".join(f"{n}None" if n.endswith("=") else n for n in names)
    scope: dict[str, Any] = {}
    exec(f"def function({arguments}): return {{k: v for k, v in locals().items()}}", scope)
    return scope["function"]


@pytest.mark.parametrize(
    ("names", "inputs", "expected"),
    [
        (("p", "x"), {"x": 1}, {"x": 1}),
        (("p", "images"), {"x": 1}, {"images": 1}),
        (("p", "y", "x"), {"x": 1, "y": 2}, {"x": 1, "y": 2}),
        (("p", "a", "b"), {"x": 1, "y": 2}, {"a": 1, "b": 2}),
        (("p", "h", "mask="), {"mask": 1, "x": 2}, {"h": 2, "mask": 1}),
        (("p", "x", "scale=", "mask="), {"x": 1, "mask": 2}, {"x": 1, "scale": None, "mask": 2}),
        (("p", "/", "x"), {"x": 1}, {"x": 1}),
        (("p", "x", "/"), {"x": 1}, {"x": 1}),
        (("p", "x", "/", "y"), {"y": 1, "x": 2}, {"x": 2, "y": 1}),
        (("p", "*", "x", "y"), {"y": 1, "x": 2}, {"x": 2, "y": 1}),
        (("p", "*", "a"), {"x": 1}, {"a": 1}),
        (("p", "*rest"), {"x": 1, "y": 2}, {"rest": (1, 2)}),
        (("p", "x", "*rest"), {"y": 1, "x": 2}, {"x": 2, "rest": (1,)}),
        (("p", "x=", "*rest"), {"a": 1, "b": 2}, {"x": 1, "rest": (2,)}),
        (("p", "**rest"), {"x": 1, "y": 2}, {"rest": {"x": 1, "y": 2}}),
        (("p", "h", "**rest"), {"x": 1, "y": 2}, {"h": 1, "rest": {"y": 2}}),
        (("p", "*rest", "**more"), {"x": 1, "y": 2}, {"rest": (1, 2), "more": {}}),
        (("p", "*rest", "train"), {"x": 1, "train": 2}, {"rest": (1,), "train": 2}),
    ],
)
def test_bind_gives_each_input_to_one_argument(
    names: tuple[str, ...], inputs: dict[str, int], expected: dict[str, Any]
) -> None:
    function = echo(*names)
    args, kwargs = bind(function, 1, inputs)
    got = function("params", *args, **kwargs)
    assert got.pop("p") == "params"
    assert got == expected


def test_bind_passes_by_position_what_vmap_maps_by_position() -> None:
    mapped = jax.vmap(lambda params, x, scale: params * x * scale, in_axes=(None, 1, None))
    args, kwargs = bind(mapped, 1, {"x": jnp.ones((2, 3)), "scale": jnp.ones(2)})
    assert mapped(2.0, *args, **kwargs).shape == (3, 2)


@pytest.mark.parametrize(
    ("names", "inputs", "says"),
    [
        (("p", "x", "mask"), {"x": 1}, r"nothing is given for 'mask'"),
        (("p", "x"), {"x": 1, "y": 2, "z": 3}, r"no argument for 'y', 'z'"),
        (("p", "*", "x", "y"), {"x": 1}, r"nothing is given for 'y'"),
        (("p", "x", "mask="), {"mask": 1}, r"nothing is given for 'x'"),
        (("p", "x"), {"y": 1, "x": 2}, r"function\(p, x\)"),
    ],
)
def test_bind_says_what_does_not_fit(names: tuple[str, ...], inputs: dict[str, int], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        bind(echo(*names), 1, inputs)


def test_bind_without_a_signature_is_by_position() -> None:
    assert bind(max, 0, {"x": 1, "y": 2}) == ((1, 2), {})


class Pair(NamedTuple):
    logits: Any
    hidden: Any = None


@dataclasses.dataclass
class Record:
    logits: Any
    hidden: Any = None


class ModelOutput(collections.OrderedDict):  # type: ignore[type-arg]
    """As in transformers: fields that are None are not among the items."""


A, B, C = np.ones((2, 3)), np.zeros(4), np.arange(5)


@pytest.mark.parametrize(
    ("out", "names"),
    [
        (A, ["output"]),
        ((A, B), ["0", "1"]),
        ([A, (B, C)], ["0", "1/0", "1/1"]),
        ({"logits": A, "states": [B, None, C]}, ["logits", "states/0", "states/2"]),
        (Pair(A, B), ["logits", "hidden"]),
        (Pair(A), ["logits"]),
        (Record(A, Record(B, C)), ["logits", "hidden/logits", "hidden/hidden"]),
        (ModelOutput(logits=A, hidden=(B, C)), ["logits", "hidden/0", "hidden/1"]),
        ({"logits": A, "cache": object()}, ["logits"]),
        (torch.ones(2), ["output"]),
        (np.float64(3), ["output"]),
    ],
)
def test_names_of_outputs(out: Any, names: list[str]) -> None:
    assert list(name_outputs(out)) == names


def test_what_has_no_name_is_listed() -> None:
    assert unnamed_outputs({"logits": A, "cache": object(), "nothing": None}) == ("cache (object)",)


@pytest.mark.parametrize(
    ("out", "says"),
    [
        (None, "NoneType without an array"),
        ((), "tuple without an array"),
        ({"a": None}, "dict without an array"),
        (object(), "object without an array"),
        ({"a": A, "loss": 0.5}, "output 'loss' is of type float"),
        ((A, "text"), "output '1' is of type str"),
        (3, "output 'output' is of type int"),
        (True, "is of type bool"),
        ([1j], "output '0' is of type complex"),
    ],
)
def test_outputs_that_cannot_be_compared(out: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        name_outputs(out)


def test_live_tracers_are_outputs() -> None:
    @jax.jit
    def run(x: jax.Array) -> Any:
        inner = jax.jit(lambda y: name_outputs((y, x * 2)))(x)
        return name_outputs(Pair(x, inner["1"]))

    assert sorted(run(jnp.ones(2))) == ["hidden", "logits"]
    assert jax.grad(lambda z: name_outputs(z * z)["output"].sum())(jnp.ones(2)).shape == (2,)


def pairs(torch_out: Any, jax_out: Any, outputs: Any = None) -> tuple[list[str], list[str]]:
    """The names of both sides."""
    ours, theirs = pair_outputs(torch_out, jax_out, outputs)
    return list(ours), list(theirs)


@pytest.mark.parametrize(
    ("torch_out", "jax_out", "expected"),
    [
        (A, A, (["output"], ["output"])),
        (Pair(A, B), {"hidden": B, "logits": A}, (["logits", "hidden"], ["hidden", "logits"])),
        ((A, B), [A, B], (["0", "1"], ["0", "1"])),
        (Record(A, B), Pair(A), (["logits", "hidden"], ["logits"])),
        (Pair(A), Pair(A, C), (["logits"], ["logits", "hidden"])),
        (A, (A, B), (["output"], ["output"])),
        ({"logits": A, "hidden": B}, A, (["logits"], ["logits"])),
        ((A, B), Pair(A, B), (["0", "1"], ["0", "1"])),
        ((A, B), {"a": B, "b": A}, (["0"], ["0"])),
        ({"a": A, "b": B}, {"c": A, "d": B, "e": C}, (["a"], ["a"])),
    ],
)
def test_pairing_by_default(torch_out: Any, jax_out: Any, expected: tuple[list[str], list[str]]) -> None:
    assert pairs(torch_out, jax_out) == expected


def test_pairing_compares_the_first_arrays() -> None:
    ours, theirs = pair_outputs((A, B), Pair(C, A))
    assert ours["0"] is A
    assert theirs["0"] is C


def test_outputs_by_name() -> None:
    torch_out, jax_out = Pair(A, (B, C)), {"hidden": [B, C], "logits": A, "extra": C}
    assert pairs(torch_out, jax_out, "logits") == (["logits"], ["logits"])
    assert pairs(torch_out, jax_out, ["hidden", "logits"])[0] == ["hidden/0", "hidden/1", "logits"]
    ours, theirs = pair_outputs(torch_out, jax_out, {"logits": "extra", "hidden/0": "hidden/1"})
    assert ours["logits"] is A
    assert theirs["logits"] is C
    assert theirs["hidden/0"] is C


def test_outputs_by_functions() -> None:
    ours, theirs = pair_outputs(Pair(A, B), (C, A), (lambda out: out.hidden, lambda out: {"state": out[0]}))
    assert ours["output"] is B
    assert theirs["output"] is C
    ours, theirs = pair_outputs(Pair(A, B), A, (lambda out: out.logits, None))
    assert (ours["output"] is A, theirs["output"] is A) == (True, True)


@pytest.mark.parametrize(
    ("outputs", "error", "says"),
    [
        ("missing", ValueError, r"PyTorch has no output 'missing' \(it has logits, hidden\)"),
        (["hidden"], ValueError, "JAX has no output 'hidden'"),
        ({"logits": "nothing"}, ValueError, "JAX has no output 'nothing'"),
        ((lambda out: None, None), TypeError, "without an array"),
        (3, TypeError, "`outputs` must be"),
        ([3], TypeError, "`outputs` must be"),
    ],
)
def test_outputs_that_do_not_fit(outputs: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        pair_outputs(Pair(A, B), {"logits": A}, outputs)
