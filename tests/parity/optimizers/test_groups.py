"""What `to_optax` reads of an optimiser, which forms it takes, and what it refuses."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch import optim

from parity.optimizers import state_from_torch, state_to_torch, to_optax
from parity.optimizers.rule_form import TorchState
from parity.weights import Plan, Transfer, WeightError
from tests.parity.optimizers.training_kit import PLAN, network, tree


def params_of(module):
    return tree(PLAN.to_leaves({k: p.detach().numpy().copy() for k, p in module.named_parameters()}))


def ones_like(params):
    return {
        layer: {name: jnp.ones_like(leaf) for name, leaf in held.items()} for layer, held in params.items()
    }


def kinds(state):
    """Names of the classes of an optimiser's state."""
    found, stack = set(), [state]
    while stack:
        node = stack.pop()
        found.add(type(node).__name__)
        stack += node.values() if isinstance(node, dict) else node if isinstance(node, tuple | list) else []
    return found


def translated(build):
    module = network()
    params = params_of(module)
    transformation = to_optax(build(module.parameters()), params, PLAN, module=module)
    return transformation, params


@pytest.mark.parametrize(
    ("build", "form"),
    [
        (lambda p: optim.Adam(p), "ScaleByAdamState"),
        (lambda p: optim.AdamW(p), "ScaleByAdamState"),
        (lambda p: optim.SGD(p, momentum=0.9), "TraceState"),
        (lambda p: optim.RMSprop(p), "ScaleByRmsState"),
        (lambda p: optim.Adadelta(p), "ScaleByAdaDeltaState"),
        (lambda p: optim.Adam(p, amsgrad=True), "TorchState"),
        (lambda p: optim.SGD(p, momentum=0.9, dampening=0.1), "TorchState"),
        (lambda p: optim.NAdam(p), "TorchState"),
    ],
)
def test_optax_s_own_is_used_where_it_is_equal(build, form):
    transformation, params = translated(build)
    found = kinds(transformation.init(params))
    assert form in found
    assert (TorchState.__name__ in found) == (form == "TorchState")


def test_tensors_without_gradient_or_group_are_frozen():
    module = network()
    module[0].bias.requires_grad_(False)
    optimizer = optim.SGD([module[0].weight, module[0].bias], lr=1.0, weight_decay=0.1)
    params = params_of(module)
    transformation = to_optax(optimizer, params, PLAN, module=module)
    updates, _ = transformation.update(ones_like(params), transformation.init(params), params)
    moved = {f"{layer}/{name}" for layer, held in updates.items() for name, u in held.items() if u.any()}
    assert moved == {"hidden/kernel"}


def test_names_come_from_the_optimiser_the_module_or_the_values():
    module = network()
    params = params_of(module)
    for optimizer, options in (
        (optim.SGD(module.named_parameters(), lr=1.0), {}),
        (optim.SGD(module.parameters(), lr=1.0), {"module": module}),
        (optim.SGD([{"params": [module[2].weight]}, {"params": [module[0].weight], "lr": 3.0}], lr=1.0), {}),
    ):
        transformation = to_optax(optimizer, params, PLAN, **options)
        updates, _ = transformation.update(ones_like(params), transformation.init(params), params)
        assert (updates["head"]["kernel"] == -1).all()
    assert (updates["hidden"]["kernel"] == -3).all()


def test_the_options_are_read_once():
    module = network()
    optimizer = optim.SGD(module.parameters(), lr=1.0)
    params = params_of(module)
    transformation = to_optax(optimizer, params, PLAN, module=module)
    optimizer.param_groups[0]["lr"] = 5.0
    updates, _ = transformation.update(ones_like(params), transformation.init(params), params)
    assert float(updates["head"]["bias"][0]) == -1


class Halved(optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad /= 2
        return super().step(closure)


def test_what_cannot_be_translated_is_refused_by_name():
    module = network()
    params = params_of(module)
    with pytest.raises(
        TypeError, match=r"Halved \(a subclass of torch.optim.SGD\) is no optimiser of `torch"
    ):
        to_optax(Halved(module.parameters(), lr=1.0), params, PLAN, module=module)
    with pytest.raises(TypeError, match="LBFGS is not translated: it calls the loss many times"):
        to_optax(optim.LBFGS(module.parameters()), params, PLAN, module=module)
    with pytest.raises(TypeError, match="`torch_optimizer` is a float; it must be an optimiser"):
        to_optax(0.1, params, PLAN)
    hooked = optim.SGD(module.parameters(), lr=1.0)
    hooked.register_step_post_hook(lambda *args: None)
    with pytest.raises(TypeError, match="has 1 step hooks"):
        to_optax(hooked, params, PLAN, module=module)


def test_weights_that_do_not_fit_are_named():
    module = network()
    params, optimizer = params_of(module), optim.SGD(module.parameters(), lr=1.0)
    with pytest.raises(WeightError, match=r"leaf 'head/bias' has shape \(7,\); the plan says \(3,\)"):
        to_optax(optimizer, {**params, "head": {**params["head"], "bias": jnp.zeros(7)}}, PLAN, module=module)
    with pytest.raises(WeightError, match="leaf 'hidden/kernel' of the plan is not in `params`"):
        to_optax(optimizer, {"head": params["head"]}, PLAN, module=module)
    with pytest.raises(WeightError, match="4 of the 4 parameters of `torch_optimizer` are not parameters of"):
        to_optax(optimizer, params, PLAN, module=network())
    with pytest.raises(WeightError, match=r"gives no leaf of `params`: 2\.bias"):
        to_optax(optimizer, params, PLAN._replace(transfers=PLAN.transfers[:3]), module=module)
    with pytest.raises(WeightError, match=r"no leaf of `params` holds the values of 4 .* pass `module=`"):
        to_optax(optimizer, params_of(network()), PLAN)
    transformation, params = translated(optim.NAdam)
    with pytest.raises(ValueError, match="`params` is None: this optimiser reads the weights"):
        transformation.update(params, transformation.init(params))


def stepped(build):
    """A network after three steps of an optimiser in PyTorch."""
    module = network()
    optimizer = build(module.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        module(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
    return module, optimizer


def test_a_state_of_optax_s_own_takes_the_moments_in_its_layout():
    module, optimizer = stepped(optim.Adam)
    own = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    state = state_from_torch(optimizer, own.init(params_of(module)), PLAN, module=module)
    adam = state[1][0]
    assert int(adam.count) == 3
    moment = optimizer.state[module[0].weight]["exp_avg"]
    assert np.array_equal(adam.mu["hidden"]["kernel"], moment.numpy().T)
    other = optim.Adam(module.parameters())
    state_to_torch(state, other, PLAN, module=module)
    for p in module.parameters():
        assert set(other.state[p]) == set(optimizer.state[p])
        for slot, value in optimizer.state[p].items():
            assert torch.equal(value, other.state[p][slot]), slot
            assert value.dtype == other.state[p][slot].dtype, slot


def test_a_state_that_lacks_something_is_refused():
    module, optimizer = stepped(lambda p: optim.SGD(p, lr=0.1, momentum=0.9))
    state = optax.adam(1e-3).init(params_of(module))
    with pytest.raises(ValueError, match="counts updates and SGD of PyTorch does not: pass `step="):
        state_from_torch(optimizer, state, PLAN, module=module)
    with pytest.raises(WeightError, match="`opt_state` holds no slot of RMSprop"):
        state_to_torch(optax.identity().init({}), optim.RMSprop(module.parameters()), PLAN, module=module)
    module, optimizer = stepped(optim.RMSprop)
    centred = optim.RMSprop(module.parameters(), centered=True)
    wanted = to_optax(centred, params_of(module), PLAN, module=module).init(params_of(module))
    with pytest.raises(WeightError, match=r"lacks what `opt_state` needs: grad_avg of 0.bias"):
        state_from_torch(optimizer, wanted, PLAN, module=module)
    uneven, optimizer = stepped(optim.Adam)
    optimizer.state[uneven[0].bias]["step"] += 2
    with pytest.raises(ValueError, match=r"a different number of times \(0.bias: 5, 0.weight: 3"):
        state_from_torch(optimizer, optax.adam(1e-3).init(params_of(uneven)), PLAN, module=uneven)


def test_before_the_first_step_the_slots_are_those_of_jax():
    module = network()
    state = optax.adam(1e-3).init(params_of(module))
    assert state_from_torch(optim.Adam(module.parameters()), state, PLAN, module=module) is state


STACKED = Plan(
    (
        Transfer("0.weight", "w", (3, 3), (2, 3, 3), axes=(1, 0), put=(0,)),
        Transfer("1.weight", "w", (3, 3), (2, 3, 3), axes=(1, 0), put=(1,)),
        Transfer("0.bias", "b", (3,), (3,)),
        Transfer("1.bias", "b", (3,), (3,)),
        Transfer("emb", "in", (4, 3), (4, 3)),
        Transfer("emb", "out", (4, 3), (3, 4), axes=(1, 0)),
    )
)


def test_stacks_sums_and_ties_move_as_torch_s_tensors_do():
    held = {
        name: torch.nn.Parameter(torch.full(shape, 2.0))
        for name, shape in (("0.weight", (3, 3)), ("1.weight", (3, 3)), ("0.bias", (3,)), ("1.bias", (3,)))
    }
    tied = torch.nn.Parameter(torch.full((4, 3), 2.0))
    optimizer = optim.SGD(
        [
            {"params": [("0.weight", held["0.weight"]), ("0.bias", held["0.bias"])]},
            {"params": [("1.weight", held["1.weight"]), ("1.bias", held["1.bias"])], "lr": 10.0},
            {"params": [("emb", tied)], "weight_decay": 1.0},
        ],
        lr=1.0,
    )
    params = {"w": jnp.full((2, 3, 3), 2.0), "b": jnp.full(3, 4.0), "in": jnp.full((4, 3), 2.0)}
    params["out"] = params["in"].T
    transformation = to_optax(optimizer, params, STACKED)
    grads = {name: jnp.ones_like(leaf) for name, leaf in params.items()}
    updates, _ = transformation.update(grads, transformation.init(params), params)
    assert (updates["w"][0] == -1).all()  # its layer's rate, in a stack of two groups
    assert (updates["w"][1] == -10).all()
    assert (updates["b"] == -11).all()  # two biases that add up each take the gradient
    assert (updates["in"] == -4).all()  # 1 + 1 of both uses, and the decay of 2
    assert (updates["out"] == -4).all()
