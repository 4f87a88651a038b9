"""`check_training` of users' own step functions: right loops pass, faults are named with step and phase."""

import copy
import dataclasses

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from flax.training.train_state import TrainState

import parity
from parity.report.partings import Phase
from parity.report.verdicts import Verdict
from tests.parity.pipeline.loops import as_params, drawn, forward, mse, network

STEPS, LR = 5, 0.01


def check(torch_step, jax_step, state, **options):
    given = {"batches": drawn(), "settings": parity.Settings(dtypes=["float64"]), **options}
    return parity.check_training(torch_step, jax_step, state=state, **given)


def torch_step(state, batch):
    state["optimizer"].zero_grad()
    loss = mse(state["net"](batch["x"]), batch["y"])
    loss.backward()
    state["optimizer"].step()
    return {"loss": loss.detach()}


def torch_state(make=torch.optim.Adam, **options):
    net = network()
    return {"net": net, "optimizer": make(net.parameters(), **{"lr": LR, **options})}


def jax_side(transformation=None, loss=mse, trained=lambda params: params, net=None):
    """A jitted step and its state."""
    transformation = transformation or optax.adam(LR)
    params = as_params(net or network())

    @jax.jit
    def step(state, batch):
        def compute(params):
            return loss(forward(trained(params), batch["x"]), batch["y"])

        value, grads = jax.value_and_grad(compute)(state["params"])
        updates, opt_state = transformation.update(grads, state["opt_state"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        return {"params": params, "opt_state": opt_state}, {"loss": value}

    return step, {"params": params, "opt_state": transformation.init(params)}


def parting(report):
    assert report.verdict is Verdict.FAIL, str(report)
    assert report.parting is not None, str(report)
    return report.parting.step, report.parting.phase


def test_adam_by_hand_passes_in_both_precisions_with_slots_and_counts_paired():
    step, state = jax_side()
    report = check(torch_step, step, (torch_state(), state), settings=None)
    assert report.verdict is Verdict.PASS, str(report)
    assert set(report.dtypes) == {"float64", "float32"}
    names = {(q.group, q.name) for q in report.quantities}
    assert ("metrics", "loss") in names
    assert ("slots", "net.0.weight.optimizer.exp_avg_sq") in names
    assert any(group == "numbers" for group, _ in names)
    assert report.not_checked == ()


def test_a_step_that_is_not_jitted_and_returns_its_state_passes():
    step, state = jax_side()

    def returning(state, batch):
        return state, torch_step(state, batch)

    report = check(returning, step.__wrapped__, (torch_state(), state))
    assert report.verdict is Verdict.PASS, str(report)


@dataclasses.dataclass
class Loop:
    net: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: object
    step: int = 0


def with_schedule(at):
    """A train state of Linen and a dataclass with a scheduler; PyTorch's rate falls at step 3."""

    class Net(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x):
            return flax.linen.Dense(3, name="head")(jnp.tanh(flax.linen.Dense(6, name="hidden")(x)))

    def torch_loop(loop, batch):
        loop.optimizer.zero_grad()
        loss = mse(loop.net(batch["x"]), batch["y"])
        loss.backward()
        loop.optimizer.step()
        loop.scheduler.step()
        loop.step += 1
        return {"loss": loss.item()}

    @jax.jit
    def jax_step(state, batch):
        def compute(params):
            return mse(state.apply_fn({"params": params}, batch["x"]), batch["y"])

        loss, grads = jax.value_and_grad(compute)(state.params)
        return state.apply_gradients(grads=grads), {"loss": loss}

    def started():
        net = network()
        optimizer = torch.optim.Adam(net.parameters(), lr=LR)
        return Loop(net, optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, [3], 0.1))

    loop = started()
    schedule = optax.piecewise_constant_schedule(LR, {at: 0.1})
    state = TrainState.create(apply_fn=Net().apply, params=as_params(loop.net), tx=optax.adam(schedule))
    return torch_loop, jax_step, (loop, state)


def test_a_train_state_of_linen_and_a_scheduler_pass():
    report = check(*with_schedule(3))
    assert report.verdict is Verdict.PASS, str(report)


def test_a_schedule_that_is_off_by_one_is_named_with_its_step():
    report = check(*with_schedule(4))
    assert parting(report) == (3, Phase.UPDATE), str(report)
    assert "is 10 x that in PyTorch at step 3" in report.parting.cause, str(report)
    assert "compare the schedules" in report.parting.cause


class Nnx(nnx.Module):
    def __init__(self, net):
        self.hidden = nnx.Linear(4, 6, rngs=nnx.Rngs(0))
        self.head = nnx.Linear(6, 3, rngs=nnx.Rngs(0))
        for layer, own in ((self.hidden, net[0]), (self.head, net[2])):
            layer.kernel[...] = jnp.array(own.weight.detach().numpy().T)
            layer.bias[...] = jnp.array(own.bias.detach().numpy())

    def __call__(self, x):
        return self.head(jnp.tanh(self.hidden(x)))


def nnx_step(state, batch):
    loss, grads = nnx.value_and_grad(lambda net: mse(net(batch["x"]), batch["y"]))(state["net"])
    state["optimizer"].update(state["net"], grads)
    return {"loss": loss}


@pytest.mark.parametrize("step", [nnx_step, nnx.jit(nnx_step)], ids=["plain", "jitted"])
def test_nnx_in_place_passes_and_stays_as_it_is(step):
    given = torch_state()
    net = Nnx(given["net"])
    state = {"net": net, "optimizer": nnx.Optimizer(net, optax.adam(LR), wrt=nnx.Param)}
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(net)))
    report = check(torch_step, step, (given, state))
    assert report.verdict is Verdict.PASS, str(report)
    after = nnx.to_pure_dict(nnx.state(net))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_another_rate_of_an_nnx_optimiser_fails():
    given = torch_state()
    net = Nnx(given["net"])
    wrong = {"net": net, "optimizer": nnx.Optimizer(net, optax.adam(2 * LR), wrt=nnx.Param)}
    assert parting(check(torch_step, nnx.jit(nnx_step), (given, wrong))) == (0, Phase.UPDATE)


def gan(detached):
    """Two networks, two optimisers; JAX's are updated by the gradient of a sum if nothing is detached."""
    nets = {"gen": network(0, (4, 6, 3)), "disc": network(1, (3, 6, 1))}
    optimizers = {
        name: torch.optim.Adam(net.parameters(), lr=LR, betas=(0.5, 0.9)) for name, net in nets.items()
    }

    def torch_gan(state, batch):
        (nets, optimizers), real = state, batch["y"]
        fakes = nets["gen"](batch["x"])
        d_loss = (nets["disc"](fakes.detach()) ** 2).mean() + ((nets["disc"](real) - 1) ** 2).mean()
        g_loss = ((nets["disc"](fakes) - 1) ** 2).mean()
        d_grads = torch.autograd.grad(d_loss, list(nets["disc"].parameters()))
        g_grads = torch.autograd.grad(g_loss, list(nets["gen"].parameters()))
        for name, grads in (("disc", d_grads), ("gen", g_grads)):
            for p, grad in zip(nets[name].parameters(), grads, strict=True):
                p.grad = grad
            optimizers[name].step()
        return state, {"d_loss": d_loss, "g_loss": g_loss}

    transformation = optax.adam(LR, b1=0.5, b2=0.9)
    params = {name: as_params(net) for name, net in nets.items()}
    state = {
        "params": params,
        "opt": {name: transformation.init(own) for name, own in params.items()},
    }

    @jax.jit
    def jax_gan(state, batch):
        def losses(params):
            hold = jax.lax.stop_gradient if detached else lambda tree: tree
            fakes = forward(params["gen"], batch["x"])
            d_loss = mse(forward(params["disc"], hold(fakes)), 0.0)
            d_loss = d_loss + mse(forward(params["disc"], batch["y"]), 1.0)
            g_loss = mse(forward(jax.lax.stop_gradient(params["disc"]), fakes), 1.0)
            return d_loss + g_loss, {"d_loss": d_loss, "g_loss": g_loss}

        grads, metrics = jax.grad(losses, has_aux=True)(state["params"])
        params, opt = {}, {}
        for name, own in grads.items():
            updates, opt[name] = transformation.update(own, state["opt"][name])
            params[name] = optax.apply_updates(state["params"][name], updates)
        return {"params": params, "opt": opt}, metrics

    return torch_gan, jax_gan, ((nets, optimizers), state)


def test_two_networks_with_two_optimisers_pass():
    report = check(*gan(detached=True))
    assert report.verdict is Verdict.PASS, str(report)
    assert sum(q.group == "slots" for q in report.quantities) == 16


def test_fakes_that_are_not_detached_move_the_generator_alone():
    report = check(*gan(detached=False))
    assert parting(report) == (0, Phase.SLOTS)
    assert all(q.name.startswith("0.gen.") for q in report.failures() if q.group in ("slots", "update"))


def averaging(tau):
    net = network()
    state = {
        "online": net,
        "target": copy.deepcopy(net).requires_grad_(False),
        "optimizer": torch.optim.SGD(net.parameters(), lr=0.1),
    }

    def torch_target(state, batch):
        loss = mse(state["online"](batch["x"]), batch["y"]) + state["target"](batch["x"]).mean()
        state["optimizer"].zero_grad()
        loss.backward()
        state["optimizer"].step()
        with torch.no_grad():
            for kept, new in zip(state["target"].parameters(), state["online"].parameters(), strict=True):
                kept.mul_(0.9).add_(0.1 * new)
        return {"loss": loss}

    @jax.jit
    def jax_target(state, batch):
        def compute(params):
            return mse(forward(params, batch["x"]), batch["y"]) + forward(state["target"], batch["x"]).mean()

        loss, grads = jax.value_and_grad(compute)(state["online"])
        online = jax.tree.map(lambda p, g: p - 0.1 * g, state["online"], grads)
        target = optax.incremental_update(online, state["target"], tau)
        return {"online": online, "target": target}, {"loss": loss}

    params = as_params(net)
    return torch_target, jax_target, (state, {"online": params, "target": params})


def test_a_target_network_passes_and_tau_in_the_place_of_its_complement_fails():
    right = check(*averaging(0.1))
    assert right.verdict is Verdict.PASS, str(right)
    wrong = check(*averaging(0.9))
    assert parting(wrong) == (0, Phase.UPDATE)
    assert "as if 0.1 and 0.9 were exchanged" in wrong.parting.cause, str(wrong)
    assert "target." in wrong.parting.cause
    assert "online." not in wrong.parting.cause


def test_copies_without_telling_names_are_told_apart_by_how_they_move():
    torch_target, jax_target, (state, _) = averaging(0.1)
    with torch.no_grad():
        for net in (state["online"], state["target"]):
            net[0].bias.zero_()
            net[2].bias.zero_()
    params = as_params(state["online"])

    def in_a_tuple(state, batch):
        return torch_target(dict(zip(("online", "target", "optimizer"), state, strict=True)), batch)

    def renamed(state, batch):
        after, metrics = jax_target({"online": state["b"], "target": state["a"]}, batch)
        return {"a": after["target"], "b": after["online"]}, metrics

    given = tuple(state[name] for name in ("online", "target", "optimizer"))
    report = check(in_a_tuple, renamed, (given, {"a": params, "b": params}))
    assert report.verdict is Verdict.PASS, str(report)


def kept_average(decay, rests_at=-1):
    make_average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    given, (step, state) = torch_state(), jax_side()
    given["ema"] = torch.optim.swa_utils.AveragedModel(given["net"], multi_avg_fn=make_average)

    def torch_average(state, batch):
        metrics = torch_step(state, batch)
        state["ema"].update_parameters(state["net"])
        return metrics

    def jax_average(state, batch):
        after, metrics = step({name: state[name] for name in ("params", "opt_state")}, batch)

        def average(kept, new):
            moved = jnp.where(state["n"] == 0, new, decay * kept + (1 - decay) * new)
            return jnp.where(state["n"] == rests_at, kept, moved)

        ema = jax.tree.map(average, state["ema"], after["params"])
        return {**after, "ema": ema, "n": state["n"] + 1}, metrics

    return torch_average, jax.jit(jax_average), (given, {**state, "ema": state["params"], "n": 0})


def test_an_average_that_begins_as_a_copy_passes():
    report = check(*kept_average(0.99))
    assert report.verdict is Verdict.PASS, str(report)


def test_an_average_that_rests_in_a_step_is_told_as_one():
    report = check(*kept_average(0.99, rests_at=2))
    assert parting(report) == (2, Phase.UPDATE), str(report)
    assert "does not move ema.module" in report.parting.cause
    assert "compare when their averages begin" in report.parting.cause


def test_a_gradient_without_a_value_is_looked_for_where_metrics_agree():
    def hidden(outputs, targets):
        return mse(outputs, targets) + (outputs - jax.lax.stop_gradient(outputs)).mean()

    report = check(torch_step, jax_side(loss=hidden)[0], (torch_state(), jax_side()[1]))
    assert parting(report) == (0, Phase.SLOTS), str(report)
    assert "which PyTorch does not: leave it out" in report.sides.named(report.parting.cause)
    unplaced = parity.Settings(dtypes=["float64"], localise=False)
    report = check(torch_step, jax_side(loss=hidden)[0], (torch_state(), jax_side()[1]), settings=unplaced)
    assert parting(report) == (0, Phase.SLOTS), str(report)
    assert "look for a gradient that is stopped on one side alone" in report.parting.cause


def test_an_average_whose_shares_are_exchanged_is_named():
    report = check(*kept_average(0.01))
    assert parting(report) == (1, Phase.UPDATE)
    assert "as if 0.01 and 0.99 were exchanged in their average" in report.parting.cause, str(report)


def functional(beta):
    """Tensors alone on PyTorch's side, momentum by hand on both."""
    net = network()
    params = {name: p.detach().clone() for name, p in net.named_parameters()}
    start = {"params": params, "momentum": {n: torch.zeros_like(p) for n, p in params.items()}, "step": 0}

    def torch_pure(state, batch):
        params = {name: p.requires_grad_(True) for name, p in state["params"].items()}
        loss = mse(torch.func.functional_call(net, params, (batch["x"],)), batch["y"])
        grads = torch.autograd.grad(loss, list(params.values()))
        momentum = {n: 0.9 * state["momentum"][n] + g for n, g in zip(params, grads, strict=True)}
        params = {n: (p - 0.1 * momentum[n]).detach() for n, p in params.items()}
        return {"params": params, "momentum": momentum, "step": state["step"] + 1}, {"loss": loss}

    @jax.jit
    def jax_pure(state, batch):
        def compute(params):
            return mse(forward(params, batch["x"]), batch["y"])

        loss, grads = jax.value_and_grad(compute)(state["params"])
        momentum = jax.tree.map(lambda m, g: beta * m + g, state["momentum"], grads)
        params = jax.tree.map(lambda p, m: p - 0.1 * m, state["params"], momentum)
        return {"params": params, "momentum": momentum, "step": state["step"] + 1}, {"loss": loss}

    params = as_params(net)
    state = {"params": params, "momentum": jax.tree.map(jnp.zeros_like, params), "step": 0}
    return torch_pure, jax_pure, (start, state)


def test_a_functional_loop_with_momentum_by_hand_passes():
    right = check(*functional(0.9))
    assert right.verdict is Verdict.PASS, str(right)
    assert any(q.group == "numbers" and q.name == "step" for q in right.quantities)


def test_another_momentum_by_hand_fails_at_step_1():
    wrong = check(*functional(0.8))
    assert parting(wrong) == (1, Phase.UPDATE)


def test_a_gradient_scaler_that_is_in_the_state_passes_and_donated_arguments_stay():
    given = torch_state(torch.optim.SGD, momentum=0.9)
    given["scaler"] = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)

    def scaled(state, batch):
        scaler, optimizer = state["scaler"], state["optimizer"]
        optimizer.zero_grad()
        loss = mse(state["net"](batch["x"]), batch["y"])
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return {"loss": loss, "scale": scaler.get_scale()}

    step, state = jax_side(optax.sgd(LR, momentum=0.9))
    leaves = [np.array(leaf) for leaf in jax.tree.leaves(state)]
    report = check(scaled, jax.jit(step.__wrapped__, donate_argnums=0), (given, state))
    assert report.verdict is Verdict.PASS, str(report)
    assert "metrics that only PyTorch returns: scale" in report.not_checked
    for leaf, kept in zip(jax.tree.leaves(state), leaves, strict=True):
        np.testing.assert_array_equal(leaf, kept)


def test_a_constant_loss_scale_by_hand_passes():
    scale = 1024.0

    def scaled(state, batch):
        state["optimizer"].zero_grad()
        loss = mse(state["net"](batch["x"]), batch["y"])
        (loss * state["scale"]).backward()
        for p in state["net"].parameters():
            p.grad.div_(state["scale"])
        state["optimizer"].step()
        return state, loss

    step, state = jax_side(optax.sgd(LR, momentum=0.9))
    given = {**torch_state(torch.optim.SGD, momentum=0.9), "scale": scale}
    report = check(scaled, step, (given, state))
    assert report.verdict is Verdict.PASS, str(report)


def test_another_rate_is_named():
    step, state = jax_side(optax.adam(2 * LR))
    rate = check(torch_step, step, (torch_state(), state))
    assert parting(rate) == (0, Phase.UPDATE)
    assert "is 2 x that in PyTorch in every step" in rate.parting.cause, str(rate)


def square_sum(outputs, targets):
    return ((outputs - targets) ** 2).sum()


def test_a_sum_in_the_place_of_a_mean_is_named():
    step, state = jax_side(loss=square_sum)
    summed = check(torch_step, step, (torch_state(), state))
    assert parting(summed) == (0, Phase.METRICS)
    assert "the metric loss of JAX is 24 x" in summed.parting.cause, str(summed)


def test_a_gradient_of_a_sum_behind_the_metric_of_a_mean_fails_in_the_optimiser():
    step, state = jax_side(loss=square_sum)

    @jax.jit
    def hidden_sum(state, batch):
        return step(state, batch)[0], {"loss": mse(forward(state["params"], batch["x"]), batch["y"])}

    report = check(torch_step, hidden_sum, (torch_state(), state))
    assert parting(report) == (0, Phase.SLOTS), str(report)


def test_a_leaf_that_is_never_trained_is_named():
    def stopped(params):
        return {**params, "hidden": jax.lax.stop_gradient(params["hidden"])}

    step, state = jax_side(trained=stopped)
    report = check(torch_step, step, (torch_state(), state))
    assert parting(report)[0] == 0
    assert "params/hidden/bias, params/hidden/kernel of JAX never move" in report.parting.cause, str(report)


def annealed():
    """A coefficient that Python counts: right as an argument, frozen where the traced function reads it."""
    calls = {"torch": 0, "jax": 0}

    def torch_annealed(state, batch):
        calls["torch"] += 1
        state["optimizer"].zero_grad()
        penalty = 0.1 * calls["torch"] * state["net"][0].weight.square().mean()
        loss = mse(state["net"](batch["x"]), batch["y"]) + penalty
        loss.backward()
        state["optimizer"].step()
        return {"loss": loss}

    def update(state, batch, beta):
        def compute(params):
            return mse(forward(params, batch["x"]), batch["y"]) + beta * jnp.mean(
                params["hidden"]["kernel"] ** 2
            )

        loss, grads = jax.value_and_grad(compute)(state["params"])
        params = jax.tree.map(lambda p, g: p - LR * g, state["params"], grads)
        return {"params": params}, {"loss": loss}

    given_beta = jax.jit(update)
    reading = jax.jit(lambda state, batch: update(state, batch, 0.1 * calls["jax"]))

    def right(state, batch):
        calls["jax"] += 1
        return given_beta(state, batch, 0.1 * calls["jax"])

    def frozen(state, batch):
        calls["jax"] += 1
        return reading(state, batch)

    state = torch_state(torch.optim.SGD), {"params": as_params(network())}
    return torch_annealed, right, frozen, state, calls


def test_a_number_frozen_when_it_was_traced_is_named_and_one_that_is_given_passes():
    torch_annealed, right, frozen, state, calls = annealed()
    report = check(torch_annealed, right, state, settings=None)
    assert report.verdict is Verdict.PASS, str(report)
    assert calls == {"torch": 0, "jax": 0}
    wrong = check(torch_annealed, frozen, state)
    assert parting(wrong) == (1, Phase.METRICS)
    assert "without `jax.jit` both agree" in wrong.parting.cause, str(wrong)


def test_a_step_that_looks_at_numbers_runs_as_it_stands():
    step, state = jax_side()

    count = 0

    def looking(state, batch):
        nonlocal count
        count += 1
        state, metrics = step(state, batch)
        return state, {"loss": float(metrics["loss"]) if count > 2 else metrics["loss"], "count": count}

    given = {**torch_state(), "count": 0}

    def counting(state, batch):
        state["count"] += 1
        return {**torch_step(state, batch), "count": state["count"]}

    report = check(counting, looking, (given, state))
    assert report.verdict is Verdict.PASS, str(report)
    assert "looks at numbers" in str(report.findings)


def test_running_statistics_are_compared_with_their_momentum():
    def sides(momentum, share=8 / 7):
        torch.manual_seed(0)
        norm = torch.nn.BatchNorm1d(4)
        with torch.no_grad():
            norm.weight.uniform_(0.5, 1.5)

        def torch_norm(state, batch):
            return state, {"mean": state(batch["x"]).square().mean()}

        @jax.jit
        def jax_norm(state, batch):
            x = batch["x"]
            mean, var = x.mean(0), x.var(0)
            out = (x - mean) / jnp.sqrt(var + 1e-5) * state["scale"] + state["bias"]
            kept = {
                "mean": (1 - momentum) * state["mean"] + momentum * mean,
                "var": (1 - momentum) * state["var"] + momentum * var * share,
            }
            return {**state, **kept}, {"mean": (out**2).mean()}

        scale = jnp.array(norm.weight.detach().numpy())
        zeros, ones = jnp.zeros(4), jnp.ones(4)
        return torch_norm, jax_norm, (norm, {"scale": scale, "bias": zeros, "mean": zeros, "var": ones})

    right = check(*sides(0.1))
    assert right.verdict is Verdict.PASS, str(right)
    wrong = check(*sides(0.9))
    assert parting(wrong) == (0, Phase.STATISTICS), str(wrong)
    by_hand = check(*sides(0.1, 1.0))  # Flax is loaded here, and none of its layers computes in this step
    assert parting(by_hand) == (0, Phase.STATISTICS), str(by_hand)
    assert "keeps the variance over n = 8 values" in by_hand.parting.cause


class NormedNnx(nnx.Module):
    def __init__(self, net):
        self.a = nnx.Linear(4, 6, rngs=nnx.Rngs(0))
        self.norm = nnx.BatchNorm(6, momentum=0.9, rngs=nnx.Rngs(0))
        self.b = nnx.Linear(6, 3, rngs=nnx.Rngs(0))
        for layer, own in ((self.a, net[0]), (self.b, net[3])):
            layer.kernel[...] = jnp.array(own.weight.detach().numpy().T)
            layer.bias[...] = jnp.array(own.bias.detach().numpy())

    def __call__(self, x):
        return self.b(jax.nn.relu(self.norm(self.a(x))))


def test_a_bias_before_a_norm_is_left_out_and_the_biased_variance_of_flax_is_no_fault():
    torch.manual_seed(0)
    linear, norm = torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6)
    net = torch.nn.Sequential(linear, norm, torch.nn.ReLU(), torch.nn.Linear(6, 3))
    port = NormedNnx(net)
    given = {"net": net, "optimizer": torch.optim.Adam(net.parameters(), lr=LR)}
    state = {"net": port, "optimizer": nnx.Optimizer(port, optax.adam(LR), wrt=nnx.Param)}
    report = check(torch_step, nnx.jit(nnx_step), (given, state))
    assert report.verdict is Verdict.PASS, str(report)
    assert "how net.0.bias moves" in str(report.not_checked)
    assert "net.1.running_var: the library on the JAX side keeps the biased variance" in str(report.findings)


def test_a_packed_tensor_is_found_in_three_leaves_with_its_slots():
    torch.manual_seed(0)
    attention = torch.nn.MultiheadAttention(4, 1, bias=False, batch_first=True)
    given = {"net": attention, "optimizer": torch.optim.SGD(attention.parameters(), lr=0.1, momentum=0.9)}
    packed = attention.in_proj_weight.detach().numpy()
    params = {name: packed[4 * i : 4 * i + 4].T for i, name in enumerate(("query", "key", "value"))}
    params = jax.tree.map(jnp.array, {**params, "out": attention.out_proj.weight.detach().numpy().T})
    transformation = optax.sgd(0.1, momentum=0.9)

    def torch_attention(state, batch):
        state["optimizer"].zero_grad()
        x = batch["x"][None]
        loss = state["net"](x, x, x, need_weights=False)[0].square().mean()
        loss.backward()
        state["optimizer"].step()
        return loss

    @jax.jit
    def jax_attention(state, batch):
        def compute(params):
            q, k, v = (batch["x"] @ params[name] for name in ("query", "key", "value"))
            return jnp.mean((jax.nn.softmax(q @ k.T / 2.0) @ v @ params["out"]) ** 2)

        loss, grads = jax.value_and_grad(compute)(state["params"])
        updates, opt_state = transformation.update(grads, state["opt_state"])
        return {"params": optax.apply_updates(state["params"], updates), "opt_state": opt_state}, loss

    state = {"params": params, "opt_state": transformation.init(params)}
    report = check(torch_attention, jax_attention, (given, state))
    assert report.verdict is Verdict.PASS, str(report)
    assert any(q.name == "net.in_proj_weight.optimizer.momentum_buffer" for q in report.quantities)
    assert report.not_checked == ()


def test_numbers_that_a_step_counts_around_itself_are_put_back():
    count, calls = 0, 0
    step, state = jax_side()

    def counting_torch(state, batch):
        nonlocal count
        count += 1
        return {**torch_step(state, batch), "count": count}

    def counting_jax(state, batch):
        nonlocal calls
        calls += 1
        state, metrics = step(state, batch)
        return state, {**metrics, "count": calls}

    report = check(counting_torch, counting_jax, (torch_state(), state))
    assert report.verdict is Verdict.PASS, str(report)
    assert (count, calls) == (0, 0)


def test_random_numbers_that_each_side_draws_are_named():
    given = torch_state(torch.optim.SGD)
    given["net"].insert(1, torch.nn.Dropout())
    step, state = jax_side(optax.sgd(LR), net=network())
    report = check(torch_step, step, (given, state))
    assert parting(report) == (0, Phase.METRICS)
    assert "PyTorch draws random numbers in a step" in str(report.findings)


@pytest.mark.parametrize("raising", ["none", "torch", "jax"])
def test_nothing_is_left_changed(raising):
    step, state = jax_side()
    given = torch_state()
    torch_step(given, {name: torch.tensor(a) for name, a in drawn()[0].items()})
    params = as_params(given["net"])
    adam = given["optimizer"].state[given["net"][0].weight]
    assert float(adam["step"]) == 1
    state = {"params": params, "opt_state": optax.adam(LR).init(params)}
    before = copy.deepcopy((given["net"].state_dict(), given["optimizer"].state_dict()))
    leaves = [np.array(leaf) for leaf in jax.tree.leaves(state)]
    default, rng, np_rng = torch.get_default_dtype(), torch.get_rng_state(), np.random.get_state()  # noqa: NPY002

    def failing_torch(state, batch):
        torch_step(state, batch)
        raise ArithmeticError("on purpose")

    def failing_jax(state, batch):
        raise ArithmeticError("on purpose")

    sides = {"none": (torch_step, step), "torch": (failing_torch, step), "jax": (torch_step, failing_jax)}
    if raising == "none":
        check(*sides[raising], (given, state))
    else:
        with pytest.raises(ArithmeticError) as caught:
            check(*sides[raising], (given, state))
        side = "PyTorch" if raising == "torch" else "JAX"
        assert f"raised by the {side} step function at step 0, in float" in str(caught.value.__notes__)
    after = given["net"].state_dict(), given["optimizer"].state_dict()
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert str(before[1]) == str(after[1])
    for leaf, kept in zip(jax.tree.leaves(state), leaves, strict=True):
        np.testing.assert_array_equal(leaf, kept)
    assert torch.get_default_dtype() == default
    assert torch.equal(torch.get_rng_state(), rng)
    assert np.array_equal(np.random.get_state()[1], np_rng[1])  # noqa: NPY002


def test_a_step_that_takes_its_module_from_around_it_is_refused_and_put_back():
    given, (step, state) = torch_state(), jax_side()
    before = copy.deepcopy(given["net"].state_dict())
    with pytest.raises(ValueError, match=r"changed net\.0\.weight of the state that you gave"):
        check(lambda state, batch: torch_step(given, batch), step, (given, state))
    assert all(torch.equal(before[name], value) for name, value in given["net"].state_dict().items())


def test_states_that_start_from_other_weights_name_the_tensor_and_what_to_do():
    step, state = jax_side(net=network(seed=1))
    with pytest.raises(parity.WeightError) as caught:
        check(torch_step, step, (torch_state(), state))
    for part in ("net.0.weight (6, 4): nearest is params/hidden/kernel (4, 6)", "plan_weights"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        ({"state": None}, TypeError, "need `state="),
        ({"accumulate": 2}, TypeError, "`accumulate` cannot be used"),
        ({"settings": parity.Settings(device="cuda")}, ValueError, "`device`"),
        ({"state": 3}, TypeError, "`state` is of type int; it must be a pair"),
        ({"reference": 3}, TypeError, "PyTorch's step is of type int"),
        ({"batches": []}, ValueError, "`batches` is empty"),
        ({"batches": drawn()[0]}, TypeError, "`batches` is of type dict"),
        ({"batches": [{"x": "text"}]}, TypeError, "batch 0 cannot be given to both sides: `x`"),
        ({"batches": drawn(), "steps": 9}, ValueError, "`steps` is 9 and `batches` has 5"),
        ({"loss": (mse, mse)}, TypeError, "`loss` cannot be used"),
        ({"reference": lambda state, batch: None}, TypeError, "PyTorch's step returned None"),
        ({"reference": lambda state, batch: (1, 2, 3)}, TypeError, "PyTorch's step returned 3 values"),
        ({"reference": lambda state, batch: ({}, 2)}, TypeError, "a state without net.0.weight"),
        ({"reference": lambda state, batch: {"a": "b"}}, TypeError, "the metric `a` is of type str"),
        ({"candidate": lambda state, batch: 1.0}, TypeError, r"must return \(state, metrics\)"),
        ({"candidate": lambda state, batch: ({}, 1.0)}, TypeError, "a state of another form"),
        ({"candidate": lambda state, batch: (state, None)}, TypeError, "returned None for its metrics"),
    ],
)
def test_arguments_that_cannot_be_used_say_what_to_do(changed, kind, message):
    step, state = jax_side()
    given = {"reference": torch_step, "candidate": step, "batches": drawn(), "state": (torch_state(), state)}
    with pytest.raises(kind, match=message):
        parity.check_training(**{**given, **changed})


def test_a_fault_of_one_late_step_is_not_carried_on_by_the_slots():
    net, transformation = network(), optax.adam(LR)
    params = as_params(net)

    @jax.jit
    def step(state, batch):
        def compute(params):
            return mse(forward(params, batch["x"]), batch["y"])

        loss, grads = jax.value_and_grad(compute)(state["params"])
        wrong = jnp.where(state["opt_state"][0].count == 6, 2.0, 1.0)
        updates, opt_state = transformation.update(
            jax.tree.map(lambda g: wrong * g, grads), state["opt_state"]
        )
        return {"params": optax.apply_updates(state["params"], updates), "opt_state": opt_state}, loss

    state = {"params": params, "opt_state": transformation.init(params)}
    report = check(torch_step, step, (torch_state(), state), batches=drawn(9))
    assert parting(report) == (6, Phase.SLOTS)
    (curve,) = (q.curve for q in report.quantities if q.name == "net.0.weight.optimizer.exp_avg")
    assert [at for at, rho in enumerate(curve.rho) if rho > 10] == [6]
