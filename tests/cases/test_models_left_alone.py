"""What a check leaves as it was: modules that stand under two names."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from torch import nn

from tests.cases.declare import Case, plain, require_pass, right_only
from tests.kit.checking import check
from tests.kit.inputs import integers, normal
from tests.kit.pairs import Pair
from tests.kit.weights import Arrays, randomise, shapes

pytestmark = pytest.mark.filterwarnings("ignore")


def two_towers(tied: bool) -> Pair:
    """An embedding that is registered in the model and in both towers; the head may be tied to it as well."""

    class Tower(nn.Module):
        def __init__(self, embed: nn.Embedding) -> None:
            super().__init__()
            self.embed, self.mix = embed, nn.Linear(5, 5)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.mix(self.embed(ids)).sin()

    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Embedding(8, 5)
            self.left, self.right = Tower(self.shared), Tower(self.shared)
            self.head = nn.Linear(5, 8, bias=False)
            if tied:
                self.head.weight = self.shared.weight

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.left(ids) * self.right(ids.flip(-1)))

    def port(params: Any, ids: jax.Array) -> jax.Array:
        left, right = (
            jnp.sin(params["embed"][rows] @ params[name]["w"] + params[name]["b"])
            for name, rows in (("left", ids), ("right", ids[:, ::-1]))
        )
        return left * right @ (params["embed"].T if tied else params["head"])

    layer = {"w": (5, 5), "b": (5,)}
    template = {"embed": (8, 5), "left": layer, "right": layer} | ({} if tied else {"head": (5, 8)})
    return Pair(randomise(Towers()), port, {"ids": integers(8, 3, 4)}, template=shapes(template))


def towers_params(t: Arrays) -> Any:
    params = {
        name: {"w": t[f"{name}.mix.weight"].T, "b": t[f"{name}.mix.bias"]} for name in ("left", "right")
    }
    return params | {"embed": t["shared.weight"]}


@right_only(lambda t: towers_params(t) | {"head": t["head.weight"].T})
def shared_embedding() -> Pair:
    return two_towers(tied=False)


@right_only(towers_params)
def tied_embedding() -> Pair:
    return two_towers(tied=True)


@right_only(lambda t: {"w": t["0.weight"].T, "b": t["0.bias"]})
def layer_run_twice() -> Pair:
    """One layer under two names of a sequence."""
    layer = nn.Linear(5, 5)

    def port(params: Any, x: jax.Array) -> jax.Array:
        return (jnp.sin(x @ params["w"] + params["b"])) @ params["w"] + params["b"]

    class Sine(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sin()

    template = shapes({"w": (5, 5), "b": (5,)})
    reference = randomise(nn.Sequential(layer, Sine(), layer))
    return Pair(reference, port, {"input": normal(3, 5)}, template=template)


@pytest.mark.parametrize("case", [plain(shared_embedding), plain(tied_embedding), plain(layer_run_twice)])
def test_a_module_under_two_names_is_judged(case: Case) -> None:
    require_pass(check(case.right))


@pytest.mark.parametrize(
    "case", [plain(case) for case in (shared_embedding, tied_embedding, layer_run_twice)]
)
def test_a_module_under_two_names_is_left_as_it_was(case: Case) -> None:
    pair = case.right
    before = dict(pair.reference.named_parameters(remove_duplicate=False))
    values = {name: tensor.detach().clone() for name, tensor in before.items()}
    try:
        check(pair)
    finally:
        after = dict(pair.reference.named_parameters(remove_duplicate=False))
        assert list(after) == list(before)
        assert [name for name in after if after[name] is not before[name]] == []
        assert all(torch.equal(after[name], values[name]) for name in after)
