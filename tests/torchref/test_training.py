"""`fit` against plain NumPy loops: the path of the parameters, and what is recorded when."""

import threading
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from torchref import activations, bare, fit, losses, metrics, modules
from torchref.optimizers import GradientDescent
from torchref.recipes import two_rates

N, D, K = 8, 6, 3
RATE = 0.3
EPOCHS = 7


def sigmoid(t: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-t))


def binary_cross_entropy(logits: np.ndarray, y: np.ndarray) -> float:
    return -np.mean(y * np.log(sigmoid(logits)) + (1 - y) * np.log(1 - sigmoid(logits)))


def cross_entropy(logits: np.ndarray, y: np.ndarray) -> float:
    return -np.mean(np.sum(y * np.log(softmax(logits)), axis=1))


def softmax(t: np.ndarray) -> np.ndarray:
    return np.exp(t) / np.exp(t).sum(axis=1, keepdims=True)


class Logistic:
    """Each of these classes is a network written out by hand, with the gradients of the textbook."""

    model = bare.logistic(D)
    optimizer = GradientDescent
    loss, oracle_loss = staticmethod(losses.binary_cross_entropy), staticmethod(binary_cross_entropy)
    rates: ClassVar = {"w": RATE, "b": RATE}

    def logits(self, p, x):
        return x @ p["w"] + p["b"]

    def grads(self, p, x, y):
        error = (sigmoid(self.logits(p, x)) - y) / len(x)
        return {"w": x.T @ error, "b": error.sum(keepdims=True)}


class TwoLayerTanh(Logistic):
    model = bare.two_layer(D)
    optimizer = staticmethod(two_rates)
    rates: ClassVar = {"W1": RATE / 10, "b1": RATE / 10, "w2": RATE, "b2": RATE}

    def hidden(self, p, x):
        return np.tanh(x @ p["W1"].T + p["b1"])

    def slope(self, h):
        return 1 - h**2

    def logits(self, p, x):
        return self.hidden(p, x) @ p["w2"] + p["b2"]

    def grads(self, p, x, y):
        h = self.hidden(p, x)
        error = (sigmoid(self.logits(p, x)) - y) / len(x)
        error1 = error[:, None] * p["w2"] * self.slope(h)
        return {
            "W1": error1.T @ x,
            "b1": error1.sum(axis=0),
            "w2": h.T @ error,
            "b2": error.sum(keepdims=True),
        }


class TwoLayerAsCoded(TwoLayerTanh):
    model = bare.two_layer(D, hidden_activation=activations.shifted_logistic)

    def hidden(self, p, x):
        return 2 * sigmoid(x @ p["W1"].T + p["b1"]) - 1

    def slope(self, h):
        return (1 - h**2) / 2


class Softmax:
    model = bare.softmax(D, K)
    optimizer = GradientDescent
    loss, oracle_loss = staticmethod(losses.cross_entropy), staticmethod(cross_entropy)
    rates: ClassVar = {"W": RATE, "b": RATE}

    def logits(self, p, x):
        return x @ p["W"].T + p["b"]

    def grads(self, p, x, y):
        error = (softmax(self.logits(p, x)) - y) / len(x)
        return {"W": error.T @ x, "b": error.sum(axis=0)}


NETWORKS = [Logistic(), TwoLayerTanh(), TwoLayerAsCoded(), Softmax()]

ORDERS = {
    "as they lie": None,
    "one for all epochs": np.array([3, 1, 7, 7, 0, 2, 4]),
    "one for each epoch": np.array([np.random.default_rng(e).permutation(N)[:7] for e in range(EPOCHS)]),
}


def loop(network, p, train, val, *, batch_size, order):
    """The notebook's loops in NumPy: returns the parameters and the histories."""
    x, y = train
    if order is None:
        order = np.arange(N)
    order = np.broadcast_to(order, (EPOCHS, order.shape[-1]))
    history = {"train_loss": [], "train_logits": [], "val_loss": [], "val_logits": [], "step_loss": []}

    def record(rows):
        for part, (x_part, y_part) in (("train", (x[rows], y[rows])), ("val", val)):
            logits = network.logits(p, x_part)
            history[f"{part}_loss"].append(network.oracle_loss(logits, y_part))
            history[f"{part}_logits"].append(logits)

    for rows in order:
        if batch_size is None:
            record(rows)
        size = batch_size or len(rows)
        step_losses = []
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            step_losses.append(network.oracle_loss(network.logits(p, x[batch]), y[batch]))
            grads = network.grads(p, x[batch], y[batch])
            p = {name: p[name] - network.rates[name] * grads[name] for name in p}
        history["step_loss"].append(step_losses)
        if batch_size is not None:
            record(np.arange(N))
    return p, {name: np.array(values) for name, values in history.items()}


def samples(network, rng: np.random.Generator, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    x = rng.normal(size=(num_samples, D))
    if isinstance(network, Softmax):
        return x, np.eye(K)[rng.integers(0, K, num_samples)]
    return x, rng.integers(0, 2, num_samples).astype(np.float64)


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
@pytest.mark.parametrize("batch_size", [None, 1, 3, N, 100])
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: type(network).__name__)
def test_against_numpy_loops(network, batch_size, order, rng: np.random.Generator) -> None:
    start = {name: rng.normal(size=tuple(p.shape)) for name, p in network.model.init().items()}
    train, val = samples(network, rng, N), samples(network, rng, 5)
    expected, expected_history = loop(network, start, train, val, batch_size=batch_size, order=order)

    parameters = {name: torch.tensor(p, requires_grad=True) for name, p in start.items()}
    history = fit(
        partial(network.model.apply, parameters),
        parameters,
        tuple(map(torch.tensor, train)),
        tuple(map(torch.tensor, val)),
        loss=network.loss,
        metrics={"loss": network.loss, "logits": lambda logits, labels: logits},
        optimizer=network.optimizer,
        learning_rate=RATE,
        epochs=EPOCHS,
        batch_size=batch_size,
        order=order,
    )
    assert history.keys() == expected_history.keys()
    for name, values in expected_history.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-11, atol=1e-12, err_msg=name)
        assert not history[name].requires_grad
    for name, values in expected.items():
        np.testing.assert_allclose(parameters[name].detach(), values, rtol=1e-11, atol=1e-12)


# From here on one small run that the tests vary.


def small_run(module: nn.Module | None = None, **changes) -> tuple[nn.Module, dict[str, Tensor]]:
    rng = np.random.default_rng(5)
    if module is None:
        module = modules.linear(D, K).double()
        with torch.no_grad():
            module.weight.copy_(torch.tensor(rng.normal(size=(K, D))))
            module.bias.zero_()
    train = torch.tensor(rng.normal(size=(N, D))), torch.tensor(rng.integers(0, K, N))
    val = torch.tensor(rng.normal(size=(4, D))), torch.tensor(rng.integers(0, K, 4))
    arguments = {
        "forward": module,
        "parameters": dict(module.named_parameters()),
        "train": train,
        "val": val,
        "loss": losses.cross_entropy,
        "metrics": {"loss": losses.cross_entropy, "accuracy": metrics.accuracy, "margin": metrics.margin},
        "optimizer": lambda parameters, rate: torch.optim.SGD(parameters.values(), lr=rate),
        "learning_rate": RATE,
        "epochs": 4,
        "batch_size": 3,
    }
    return module, fit(**(arguments | changes))


def test_shapes_and_dtypes_of_histories() -> None:
    _, history = small_run()
    assert {name: tuple(values.shape) for name, values in history.items()} == {
        "train_loss": (4,),
        "train_accuracy": (4,),
        "train_margin": (4, N),
        "val_loss": (4,),
        "val_accuracy": (4,),
        "val_margin": (4, 4),
        "step_loss": (4, 3),
    }
    assert all(v.dtype == torch.float64 and v.device.type == "cpu" for v in history.values())


def test_full_batch_uses_one_forward_pass_for_loss_and_metrics() -> None:
    module = modules.linear(D, K).double()
    sizes = []
    module.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    _, history = small_run(module, batch_size=None)
    assert sizes == [N, 4] * 4
    assert torch.equal(history["step_loss"][:, 0], history["train_loss"])


def test_rate_zero_changes_nothing() -> None:
    module, history = small_run(learning_rate=0.0)
    untouched, _ = small_run(learning_rate=0.0, epochs=1)
    assert torch.equal(module.weight, untouched.weight)
    assert all((history[name] == history[name][0]).all() for name in history)


@pytest.mark.parametrize("batch_size", [None, 3])
def test_same_bits_every_time_and_no_chance(batch_size: int | None) -> None:
    before = torch.get_rng_state()
    (first, first_history), (again, again_history) = (
        small_run(_filled_linear(), batch_size=batch_size) for _ in range(2)
    )
    assert torch.equal(first.weight, again.weight)
    assert all(torch.equal(first_history[name], again_history[name]) for name in first_history)
    assert torch.equal(torch.get_rng_state(), before)


def _filled_linear() -> nn.Linear:
    module = nn.utils.skip_init(nn.Linear, D, K, dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(torch.linspace(-1, 1, K * D).reshape(K, D))
        module.bias.zero_()
    return module


def test_order_inside_a_batch_does_not_matter() -> None:
    one, _ = small_run(order=[0, 1, 2, 3, 4, 5, 6, 7])
    other, _ = small_run(order=[2, 0, 1, 5, 4, 3, 7, 6])
    third, _ = small_run(order=[7, 6, 5, 4, 3, 2, 1, 0])
    torch.testing.assert_close(one.weight, other.weight, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(one.weight, third.weight, rtol=1e-6)


def test_forms_of_order() -> None:
    array = np.array([4, 2, 0, 1])
    array.setflags(write=False)  # as `data.batches` may hand it over
    runs = [small_run(order=order)[0] for order in (array, array.astype(np.int32), [4, 2, 0, 1])]
    runs += [small_run(order=array.astype(kind))[0] for kind in (np.uint8, np.uint32)]
    runs.append(small_run(order=torch.tensor([4, 2, 0, 1]))[0])
    runs.append(small_run(order=np.tile(array, (4, 1)))[0])
    assert all(torch.equal(run.weight, runs[0].weight) for run in runs)


def test_parameters_stay_the_same_tensors_without_gradients() -> None:
    module = modules.linear(D, K).double()
    weight, before = module.weight, module.weight.detach().clone()
    small_run(module)
    assert module.weight is weight
    assert not torch.equal(weight, before)
    assert all(p.grad is None for p in module.parameters())


def test_earlier_gradients_have_no_influence() -> None:
    clean, dirty = _filled_linear(), _filled_linear()
    dirty(torch.ones(1, D, dtype=torch.float64)).sum().backward()
    small_run(clean)
    small_run(dirty)
    assert torch.equal(clean.weight, dirty.weight)


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_is_left_alone(mode: bool) -> None:
    module = modules.mlp([D, 4, K]).double().train(mode)
    small_run(module)
    assert all(part.training is mode for part in module.modules())


@pytest.mark.parametrize("batch_size", [None, 3])
def test_a_loss_that_is_not_finite_is_recorded(batch_size: int | None) -> None:
    _, history = small_run(learning_rate=1e308, batch_size=batch_size)
    assert not history["step_loss"].isfinite().all()
    assert history["train_loss"].shape == (4,)


def test_float32_stays_float32() -> None:
    parameters = bare.softmax(D, K).init(torch.Generator().manual_seed(0))
    x, y = torch.ones(4, D), torch.tensor([0, 1, 2, 0])
    history = fit(
        partial(bare.softmax(D, K).apply, parameters),
        parameters,
        (x, y),
        (x, y),
        loss=losses.cross_entropy,
        metrics={"accuracy": metrics.accuracy},
        optimizer=GradientDescent,
        learning_rate=0.1,
        epochs=2,
    )
    assert parameters["W"].dtype == torch.float32
    assert all(values.dtype == torch.float32 for values in history.values())


@pytest.mark.parametrize("epochs", [4, 250])
def test_progress_shows_the_run_and_does_not_change_it(epochs: int, capsys: pytest.CaptureFixture) -> None:
    quiet, quiet_history = small_run(_filled_linear(), epochs=epochs)
    assert capsys.readouterr() == ("", "")
    shown, shown_history = small_run(_filled_linear(), epochs=epochs, progress=True)
    printed = capsys.readouterr()
    text = " ".join(printed.err.split())
    assert printed.out == ""
    assert f"{epochs}/{epochs}" in text
    assert "0:00:0" in text  # elapsed time
    for name in ("loss", "accuracy"):
        newest = [shown_history[f"{part}_{name}"][-1].item() for part in ("train", "val")]
        assert "{} {:.3g}/{:.3g}".format(name, *newest) in text
    assert "margin" not in text  # not a scalar
    assert torch.equal(quiet.weight, shown.weight)
    assert all(torch.equal(quiet_history[name], shown_history[name]) for name in quiet_history)


def test_the_bar_closes_when_the_run_fails() -> None:
    def fails(logits: Tensor, labels: Tensor) -> Tensor:
        raise ArithmeticError("on purpose")

    threads = set(threading.enumerate())
    with pytest.raises(ArithmeticError) as raised:  # keeps the frames of the failed run alive
        small_run(loss=fails, progress=True)
    for thread in set(threading.enumerate()) - threads:
        thread.join(timeout=5)
        assert not thread.is_alive()  # the one that redraws the bar
    assert raised.value.args == ("on purpose",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
        ({"batch_size": 0}, "`batch_size` must be at least 1, or None for full batch, got 0"),
        ({"order": [0.0, 1.0]}, "`order` must hold integers, got float64"),
        ({"order": [True, False]}, "`order` must hold integers, got bool"),
        ({"order": [0, N]}, r"`order` must lie in \[0, 8\).*got 0 to 8"),
        ({"order": [-1, 2]}, "got -1 to 2"),
        ({"order": np.zeros((3, 8), dtype=int)}, r"or \(4, samples_used\), got \(3, 8\)"),
        ({"order": np.array(3)}, r"got \(\)"),
        ({"order": np.zeros(0, dtype=int)}, "at least one sample"),
        ({"order": np.zeros((4, 0), dtype=int)}, "at least one sample"),
        ({"train": (torch.zeros(3, D), torch.zeros(2))}, "`train`.*got 3 and 2"),
        ({"val": (torch.zeros(0, D), torch.zeros(0))}, "`val`.*got 0 and 0"),
        ({"parameters": {"w": torch.zeros(3)}}, "`parameters`.*requires_grad_"),
        ({"parameters": {}}, "`parameters`"),
    ],
)
def test_unfit_arguments_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_run(**changes)


def test_all_faults_come_in_one_message() -> None:
    with pytest.raises(ValueError, match=r"(?s)`epochs`.*`batch_size`.*`order`"):
        small_run(epochs=-1, batch_size=-2, order=[9])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda() -> None:
    expected, expected_history = small_run(_filled_linear(), order=[1, 0, 5, 3])
    rng = np.random.default_rng(5)
    train = torch.tensor(rng.normal(size=(N, D))).cuda(), torch.tensor(rng.integers(0, K, N)).cuda()
    val = torch.tensor(rng.normal(size=(4, D))).cuda(), torch.tensor(rng.integers(0, K, 4)).cuda()
    actual, history = small_run(_filled_linear().cuda(), train=train, val=val, order=[1, 0, 5, 3])
    torch.testing.assert_close(actual.weight.cpu(), expected.weight)
    torch.testing.assert_close(history, expected_history)
