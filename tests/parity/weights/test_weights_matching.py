"""Pairs found by shape, layer, name and use, whatever things are called; what is open is tried or listed."""

import random
import re
import time
from typing import Any

import pytest

from parity.weights import Plan, Signature, Use, WeightError, find_plan
from parity.weights.doubt import OPEN, is_doubtful

E, F, V = 8, 32, 50


def shapes(**leaves: Any) -> dict[str, tuple[int, ...]]:
    return {path.replace("__", "/"): shape for path, shape in leaves.items()}


def blocks(count: int, *, packed: bool = False) -> dict[str, Signature]:
    """The tensors of a small transformer, in the order of definition and use."""
    tensors: dict[str, Signature] = {"wte.weight": Signature((V, E), "Embedding")}
    for i in range(count):
        own = {"ln_1": "LayerNorm", "q": "Linear", "k": "Linear", "v": "Linear", "o": "Linear"}
        if packed:
            own = {"ln_1": "LayerNorm", "qkv": "Linear", "o": "Linear"}
        for name, layer in (own | {"ln_2": "LayerNorm", "up": "Linear", "down": "Linear"}).items():
            out, into = {"up": (F, E), "down": (E, F), "qkv": (3 * E, E)}.get(name, (E, E))
            weight = (E,) if layer == "LayerNorm" else (out, into)
            tensors[f"h.{i}.{name}.weight"] = Signature(weight, layer)
            tensors[f"h.{i}.{name}.bias"] = Signature((weight[0],), layer)
    return tensors


def flax_of(name: str, tensor: Signature) -> tuple[str, tuple[int, ...]]:
    """Where Flax would have the same tensor."""
    module, _, last = name.rpartition(".")
    kind = {"LayerNorm": "scale", "Embedding": "embedding"}.get(tensor.layer, "kernel")
    shape = tensor.shape[::-1] if kind == "kernel" and last == "weight" else tensor.shape
    return f"{module.replace('.', '/')}/{'bias' if last == 'bias' else kind}", shape


def used(tensors: dict[str, Signature]) -> dict[str, Signature]:
    """The same tensors, each with its first use in this order."""
    operations = {"Linear": "matmul", "LayerNorm": "mul", "Embedding": "gather"}
    found = {}
    for place, (name, tensor) in enumerate(tensors.items()):
        bias = name.endswith("bias")
        use = Use(place, "add" if bias else operations[tensor.layer], (1,) if len(tensor.shape) == 2 else ())
        found[name] = tensor._replace(use=use)
    return found


def jax_side(tensors: dict[str, Signature]) -> tuple[dict[str, Signature], dict[str, str]]:
    """Flax's leaves with their uses, sorted by path as JAX does; which leaf is which tensor."""
    leaves, names = {}, {}
    for name, tensor in tensors.items():
        path, shape = flax_of(name, tensor)
        use = None
        if tensor.use is not None:
            contracted = (0,) if tensor.use.operation == "matmul" else ()
            use = tensor.use._replace(position=10 + 3 * tensor.use.position, contracted=contracted)
        leaves[path], names[name] = Signature(shape, use=use), path
    return dict(sorted(leaves.items())), names


@pytest.mark.parametrize("count", [1, 12])
def test_a_transformer_by_names_alone(count: int) -> None:
    tensors = blocks(count)
    leaves, names = jax_side(tensors)
    plan = find_plan(tensors, leaves)
    assert plan.names() == names
    assert {t.axes for t in plan.transfers if t.tensor_name.endswith(("q.weight", "up.weight"))} == {(1, 0)}


@pytest.mark.parametrize("seed", range(3))
def test_a_transformer_by_use_alone(seed: int) -> None:
    tensors = used(blocks(4))
    leaves, names = jax_side(tensors)
    secret = [f"z{i}" for i in range(len(leaves))]
    random.Random(seed).shuffle(secret)
    hidden = dict(zip(leaves, secret, strict=True))
    plan = find_plan(tensors, {hidden[path]: leaf for path, leaf in leaves.items()})
    assert plan.names() == {name: hidden[path] for name, path in names.items()}
    assert all(
        t.axes == (1, 0) for t in plan.transfers if tensors[t.tensor_name].layer == "Linear" and t.axes[1:]
    )


def test_names_that_agree_outweigh_another_order() -> None:
    """A port may compute the shortcut first, or the values before the keys."""
    tensors = used({f"{n}.weight": Signature((E, E), "Linear") for n in ("query", "key", "value", "out")})
    leaves = {
        f"{n}/kernel": Signature((E, E), use=Use(place, "matmul", (0,)))
        for place, n in enumerate(("value", "query", "out", "key"))
    }
    plan = find_plan(tensors, leaves)
    assert plan.names() == {f"{n}.weight": f"{n}/kernel" for n in ("query", "key", "value", "out")}


@pytest.mark.parametrize(
    ("layer", "summed", "leaf_summed", "axes"),
    [
        ("Linear", (1,), (0,), (1, 0)),
        ("Linear", (1,), (1,), (0, 1)),
        ("", (0,), (0,), (0, 1)),
        ("", (0,), (1,), (1, 0)),
        ("", (1,), (0,), (1, 0)),
    ],
)
def test_what_is_summed_over_settles_square_matrices(
    layer: str, summed: Any, leaf_summed: Any, axes: Any
) -> None:
    tensor = Signature((E, E), layer, Use(3, "matmul", summed))
    for path in ("dense/kernel", "dense/weight", "w"):
        # Called otherwise: a bare matrix lies as its namesake, whatever is summed over first.
        plan = find_plan({"m": tensor}, {path: Signature((E, E), use=Use(9, "matmul", leaf_summed))})
        assert plan.transfers[0].axes == axes


def test_other_matrices_of_the_model_settle_square_ones() -> None:
    tensors = {"a.weight": Signature((E, F), "Linear"), "b.weight": Signature((E, E), "Linear")}
    kept = find_plan(tensors, {"a/weight": (E, F), "b/weight": (E, E)})
    assert [t.axes for t in kept.transfers] == [(0, 1), (0, 1)]
    turned = find_plan(tensors, {"a/weight": (F, E), "b/weight": (E, E)})
    assert [t.axes for t in turned.transfers] == [(1, 0), (1, 0)]


def takes(plan: Plan, name: str) -> dict[str, Any]:
    return {t.leaf_path: t.take for t in plan.transfers if t.tensor_name == name}


def rows(start: int, stop: int) -> tuple[slice, ...]:
    return (slice(start, stop),)


@pytest.mark.parametrize("last", ["kernel", "weight"])
def test_a_packed_tensor_for_three_leaves(last: str) -> None:
    tensors = {
        "attn.qkv.weight": Signature((3 * E, F), "Linear"),
        "attn.qkv.bias": Signature((3 * E,), "Linear"),
        "attn.out.weight": Signature((F, E), "Linear"),
    }
    shape = (F, E) if last == "kernel" else (E, F)
    leaves = {f"attn/{n}/{last}": shape for n in ("key", "query", "value")}
    leaves |= {f"attn/{n}/bias": (E,) for n in ("key", "query", "value")}
    leaves |= {f"attn/out/{last}": shape[::-1]}
    plan = find_plan(tensors, leaves)
    for name, kind in (("attn.qkv.weight", last), ("attn.qkv.bias", "bias")):
        assert takes(plan, name) == {
            f"attn/query/{kind}": rows(0, E),
            f"attn/key/{kind}": rows(E, 2 * E),
            f"attn/value/{kind}": rows(2 * E, 3 * E),
        }


def puts(plan: Plan, path: str) -> dict[str, Any]:
    return {t.tensor_name: t.put for t in plan.transfers if t.leaf_path == path}


ALL = slice(None)


@pytest.mark.parametrize(
    ("shape", "put"),
    [
        ((F, 3 * E), lambda i: (ALL, slice(i * E, (i + 1) * E))),
        ((3 * E, F), lambda i: (slice(i * E, (i + 1) * E),)),
        ((3, F, E), lambda i: (i,)),
        ((F, 3, E), lambda i: (ALL, i)),
        ((F, 3, 2, E // 2), lambda i: (ALL, i)),
        ((F, 2, 3 * E // 2), lambda i: (ALL, ALL, slice(i * E // 2, (i + 1) * E // 2))),
    ],
)
def test_three_tensors_for_a_packed_leaf(shape: Any, put: Any) -> None:
    tensors = {f"{n}.weight": Signature((E, F), "Linear") for n in ("query", "key", "value")}
    plan = find_plan(tensors, {"qkv/kernel": shape})
    assert puts(plan, "qkv/kernel") == {
        f"{n}.weight": put(i) for i, n in enumerate(("query", "key", "value"))
    }


def test_layers_stacked_along_a_leading_axis() -> None:
    tensors = blocks(4)
    leaves = {"wte/embedding": (V, E), "head/kernel": (E, 2)}
    for name, tensor in tensors.items():
        if name.startswith("h.0."):
            path, shape = flax_of(name, tensor)
            leaves[path.replace("h/0", "layers")] = (4, *shape)
    tensors["head.weight"] = Signature((2, E), "Linear")
    plan = find_plan(tensors, leaves)
    for name, kind in (("q", "kernel"), ("down", "kernel"), ("ln_2", "scale")):
        assert puts(plan, f"layers/{name}/{kind}") == {f"h.{i}.{name}.weight": (i,) for i in range(4)}
    assert plan.names()["wte.weight"] == "wte/embedding"


def test_packed_tensors_of_every_layer_for_stacked_leaves() -> None:
    tensors = blocks(3, packed=True)
    leaves = {"wte/embedding": (V, E)}
    for name, tensor in blocks(1).items():
        if name.startswith("h."):
            path, shape = flax_of(name, tensor)
            leaves[path.replace("h/0", "blocks")] = (3, *shape)
    plan = find_plan(tensors, leaves)
    for part, name in enumerate("qkv"):
        own = [t for t in plan.transfers if t.leaf_path == f"blocks/{name}/kernel"]
        assert [(t.tensor_name, t.take, t.put) for t in own] == [
            (f"h.{i}.qkv.weight", rows(part * E, (part + 1) * E), (i,)) for i in range(3)
        ]


@pytest.mark.parametrize("part", ["layers/", ""])
def test_no_tensor_of_one_layer_fills_a_leaf_that_stacks_the_layers(part: str) -> None:
    """As many layers as parts: a packed bias is as long as the biases of one part of all layers."""
    tensors = {n: one for n, one in blocks(3, packed=True).items() if ".o." in n or ".qkv." in n}
    leaves = {f"{part}o/kernel": (3, 2, E // 2, E), f"{part}o/bias": (3, E)}
    leaves |= {f"{part}{n}/kernel": (3, E, 2, E // 2) for n in "qkv"}
    leaves |= {f"{part}{n}/bias": (3, 2, E // 2) for n in "qkv"}
    plan = find_plan(tensors, leaves)
    for place, name in enumerate("qkv"):
        parts = [t for t in plan.transfers if t.leaf_path == f"{part}{name}/bias"]
        assert [(t.tensor_name, t.take, t.put) for t in parts] == [
            (f"h.{i}.qkv.bias", rows(place * E, (place + 1) * E), (i,)) for i in range(3)
        ]


def without_the_first_norms(count: int) -> tuple[dict[str, Signature], dict[str, tuple[int, ...]]]:
    """The tensors of some blocks, some of them packed, and stacked leaves without the first norms."""
    norms = {"ln_1": "pre", "ln_2": "post"}
    tensors = {
        re.sub("ln_.", lambda found: norms[found[0]], name): tensor
        for name, tensor in blocks(count, packed=True).items()
    }
    leaves = {"wte/embedding": (V, E)}
    for name, tensor in blocks(1).items():
        if name.startswith("h.") and ".ln_1." not in name:
            path, shape = flax_of(name.replace("ln_2", "post"), tensor)
            leaves[path.replace("h/0", "layers")] = (count, *shape)
    return tensors, leaves


@pytest.mark.parametrize("count", [2, 3, 4])
def test_vectors_without_a_place_push_nothing_out_of_its_own(count: int) -> None:
    """They would fit where the positions belong, or where the parts of a packed bias do."""
    tensors, leaves = without_the_first_norms(count)
    tensors["pos"], leaves["pos"] = Signature((2 * count, E)), (2 * count, E)
    with pytest.raises(WeightError) as caught:
        find_plan(tensors, leaves)
    left = re.findall(r"unused PyTorch tensor '(\S+)'", str(caught.value))
    assert sorted(left) == sorted(name for name in tensors if ".pre." in name)


@pytest.mark.parametrize(("three", "two"), [("qkv", "gate_up"), ("w_qkv", "gate_up_proj")])
def test_a_name_that_puts_others_together_says_how_many_parts_there_are(three: str, two: str) -> None:
    parts = {"q": E, "k": E, "v": E, "gate": 3 * E // 2, "up": 3 * E // 2}
    tensors = {f"{n}.weight": Signature((size, E), "Linear") for n, size in parts.items()}
    leaves = {f"{two}/weight": (3 * E, E), f"{three}/weight": (3 * E, E)}
    plan = find_plan(tensors, leaves, try_plan=lambda _: 1.0)  # which half is the gate, no name says
    own = {t.tensor_name: (t.leaf_path, t.put) for t in plan.transfers}
    for start, name in enumerate("qkv"):
        assert own[f"{name}.weight"] == (f"{three}/weight", rows(start * E, (start + 1) * E))
    assert {own[f"{name}.weight"][0] for name in ("gate", "up")} == {f"{two}/weight"}


def test_stacked_leaves_in_the_order_of_the_loop() -> None:
    """All leaves of a scan are first used in its first round; names say nothing."""
    tensors = used({f"{i}.{n}.weight": Signature((E, E), "Linear") for i in range(3) for n in "abc"})
    leaves = {
        path: Signature((3, E, E), use=Use(place, "matmul", (1,)))
        for place, path in ((5, "zx"), (7, "zz"), (9, "zy"))
    }
    plan = find_plan(tensors, leaves)
    for path, name in (("zx", "a"), ("zz", "b"), ("zy", "c")):
        assert puts(plan, path) == {f"{i}.{name}.weight": (i,) for i in range(3)}


@pytest.mark.parametrize(("at_once", "places"), [(True, (0, 1, 2, 3, 4)), (False, (1, 0, 2, 4, 3))])
def test_a_stack_that_is_used_at_once_has_the_order_of_the_names(
    at_once: bool, places: tuple[int, ...]
) -> None:
    """Which expert comes first, the data decides; layers of a loop come in the order of the loop."""
    tensors = {
        f"experts.{i}.{n}.weight": Signature((E, E), "Linear", Use(2 * turn + later, "matmul", (1,)))
        for turn, i in enumerate((1, 0, 2, 4, 3))
        for later, n in enumerate(("up", "down"))
    }
    leaves = {
        path: Signature((5, E, E), use=Use(place, "matmul", (1,), at_once))
        for place, path in ((5, "first"), (7, "second"))
    }
    plan = find_plan(tensors, leaves)
    for path, name in (("first", "up"), ("second", "down")):
        assert puts(plan, path) == {f"experts.{i}.{name}.weight": (places[i],) for i in range(5)}


def test_experts_whose_stacks_are_of_different_modules_keep_their_places() -> None:
    """One side uses all of a stack and then the next, the other an expert after the other."""
    tensors = {
        f"experts.{i}.{n}.weight": Signature((E, E), "Linear", Use(2 * i + later, "matmul", (1,)))
        for i in range(5)
        for later, n in enumerate(("up", "down"))
    }
    leaves = {
        path: Signature((5, E, E), use=Use(place, "matmul", (1,), at_once=True, until=place))
        for place, path in ((5, "first/w"), (7, "second/w"))
    }
    plan = find_plan(tensors, leaves, try_plan=lambda _: 0.5)
    for path, name in (("first/w", "up"), ("second/w", "down")):
        assert puts(plan, path) == {f"experts.{i}.{name}.weight": (i,) for i in range(5)}


def test_a_tied_tensor_for_two_leaves_only_if_it_is_tied() -> None:
    leaves = {"wte/embedding": (V, E), "lm_head/kernel": (E, V)}
    tied = Signature((V, E), "Embedding", tied=("lm_head.weight",))
    plan = find_plan({"wte.weight": tied}, leaves)
    assert {t.leaf_path: t.axes for t in plan.transfers} == {
        "wte/embedding": (0, 1),
        "lm_head/kernel": (1, 0),
    }
    alone = find_plan({"wte.weight": tied}, {"wte/embedding": (V, E)})
    assert alone.names() == {"wte.weight": "wte/embedding"}
    with pytest.raises(WeightError, match="missing JAX leaf"):
        find_plan({"wte.weight": tied._replace(tied=())}, leaves)


def swapped(wanted: dict[str, str], tried: list[dict[str, str]]) -> Any:
    """How many tensors a plan has right; what was tried is kept."""

    def try_plan(plan: Plan) -> float:
        tried.append(plan.names())
        return sum(wanted[name] == path for name, path in plan.names().items()) / len(wanted)

    return try_plan


def test_ties_are_settled_by_running() -> None:
    tensors = {
        f"{n}.{kind}": Signature(s, "Linear")
        for n in "pqr"
        for kind, s in (("weight", (E, F)), ("bias", (E,)))
    }
    leaves = {f"{n}/{kind}": s for n in "xyz" for kind, s in (("kernel", (F, E)), ("bias", (E,)))}
    wanted = {f"{p}.weight": f"{x}/kernel" for p, x in zip("pqr", "zxy", strict=True)}
    wanted |= {f"{p}.bias": f"{x}/bias" for p, x in zip("pqr", "zxy", strict=True)}
    with pytest.raises(WeightError, match=r"either way[\s\S]*pins=\{'p.weight': "):
        find_plan(tensors, leaves)
    tried: list[dict[str, str]] = []
    assert find_plan(tensors, leaves, try_plan=swapped(wanted, tried)).names() == wanted
    assert len(tried) < 10


def test_what_running_does_not_settle_is_doubted_and_without_running_an_error() -> None:
    tensors = {f"{n}.weight": Signature((E, F), "Linear") for n in "pq"}
    leaves = {"x/kernel": (F, E), "y/kernel": (F, E)}
    with pytest.raises(WeightError, match="either way"):
        find_plan(tensors, leaves)
    undecided = find_plan(tensors, leaves, try_plan=lambda plan: 0.5)  # the sides differ anyhow: a fault
    assert [OPEN in transfer.reason for transfer in undecided.transfers] == [True, True]
    assert is_doubtful(undecided.transfers[0].reason)
    assert find_plan(tensors, leaves, try_plan=lambda plan: 1.0)  # both agree: it does not matter


def test_nothing_is_run_where_nothing_is_open() -> None:
    def never(plan: Plan) -> float:
        raise AssertionError("run")

    tensors = used(blocks(2))
    leaves, names = jax_side(tensors)
    assert find_plan(tensors, leaves, try_plan=never).names() == names


def test_the_order_gives_way_to_running_but_names_do_not() -> None:
    tensors = used({f"{n}.weight": Signature((E, E), "Linear") for n in ("up", "gate")})
    unnamed = {
        p: Signature((E, E), use=Use(i, "matmul", (0,))) for i, p in enumerate(("x/kernel", "y/kernel"))
    }
    other = {"up.weight": "y/kernel", "gate.weight": "x/kernel"}
    assert find_plan(tensors, unnamed).names() == {"up.weight": "x/kernel", "gate.weight": "y/kernel"}
    assert find_plan(tensors, unnamed, try_plan=swapped(other, [])).names() == other
    named = {
        p: Signature((E, E), use=Use(i, "matmul", (0,))) for i, p in enumerate(("up/kernel", "gate/kernel"))
    }
    wrong = {"up.weight": "gate/kernel", "gate.weight": "up/kernel"}
    found = find_plan(tensors, named, try_plan=swapped(wrong, [])).names()
    assert found == {"up.weight": "up/kernel", "gate.weight": "gate/kernel"}


def test_norms_whose_leaves_say_nothing() -> None:
    order = ("running_var", "running_mean", "weight", "bias")
    tensors = {f"bn.{n}": Signature((E,), "BatchNorm2d", Use(order.index(n), "other")) for n in sorted(order)}
    leaves = {
        "a": Signature((E,), use=Use(9, "add")),
        "b": Signature((E,), use=Use(8, "mul")),
        "state/1/0": Signature((E,), use=Use(5, "add")),
        "state/1/1": Signature((E,), use=Use(6, "add")),
    }
    assert find_plan(tensors, leaves).names() == {
        "bn.weight": "b",
        "bn.bias": "a",
        "bn.running_mean": "state/1/0",
        "bn.running_var": "state/1/1",
    }


@pytest.mark.parametrize("hidden", [False, True])
def test_a_thousand_tensors_in_seconds(hidden: bool) -> None:
    tensors = used(blocks(64))
    leaves, names = jax_side(tensors)
    assert len(tensors) > 1000
    if hidden:
        renamed = {path: f"p{place}" for place, path in enumerate(leaves)}
        leaves = {renamed[path]: leaf for path, leaf in leaves.items()}
        names = {name: renamed[path] for name, path in names.items()}
    start = time.perf_counter()
    assert find_plan(tensors, leaves).names() == names
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("kernel", [(E, 8, 4), (E, 32)])
def test_packed_heads_of_unequal_number(kernel: Any) -> None:
    """Eight heads of queries share two of keys and values."""
    tensors = {
        "attn.qkv.weight": Signature((32 + 8 + 8, E), "Linear"),
        "attn.out.weight": Signature((E, 32), "Linear"),
    }
    few = (E, 2, 4) if len(kernel) == 3 else (E, 8)
    leaves = {"q/kernel": kernel, "k/kernel": few, "v/kernel": few, "out/kernel": (*kernel[1:], E)}
    plan = find_plan(tensors, leaves)
    assert takes(plan, "attn.qkv.weight") == {
        "q/kernel": rows(0, 32),
        "k/kernel": rows(32, 40),
        "v/kernel": rows(40, 48),
    }


def test_the_layers_of_a_stack_may_be_leaves_of_any_name() -> None:
    """They need not be as many of one name; what is left open is how each square one lies, not what it is."""
    stack = Signature((2, 4, 4), use=Use(3, "other"))
    leaves = {name: Signature((4, 4), use=Use(at, "matmul", (0,))) for at, name in enumerate(("one", "two"))}
    with pytest.raises(WeightError, match=r"'kernels' \(4, 4\) is square: it fits 'one' as it is"):
        find_plan({"kernels": stack}, leaves)
    settled = stack._replace(use=Use(3, "matmul", (1,)))
    plan = find_plan({"kernels": settled}, leaves)
    assert {t.leaf_path: t.take for t in plan.transfers} == {"one": (0,), "two": (1,)}
