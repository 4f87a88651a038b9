"""Training recorded one side at a time: the report that both together get, each in its own environment."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import parity
from parity.report.partings import Phase

BATCHES = 5
RATE = 0.01


class Net(torch.nn.Module):
    """A normalisation, whose bias before it has no gradient but rounding, and running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(4, 6)
        self.norm = torch.nn.BatchNorm1d(6)
        self.last = torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs of shape (batch, 4) to logits of shape (batch, 3)."""
        logits: torch.Tensor = self.last(torch.tanh(self.norm(self.first(x))))
        return logits


def port(params: Any, x: jax.Array) -> jax.Array:
    hidden = x @ params["first"]["kernel"] + params["first"]["bias"]
    norm = params["norm"]
    hidden = (hidden - hidden.mean(0)) / jnp.sqrt(hidden.var(0) + 1e-5) * norm["scale"] + norm["bias"]
    return jnp.tanh(hidden) @ params["last"]["kernel"] + params["last"]["bias"]


TEMPLATE = {
    "first": {"kernel": jnp.zeros((4, 6)), "bias": jnp.zeros(6)},
    "norm": {"scale": jnp.zeros(6), "bias": jnp.zeros(6)},
    "last": {"kernel": jnp.zeros((6, 3)), "bias": jnp.zeros(3)},
}


def loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()


def summed(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets).sum()


def adamw(rate: Any, **changed: float) -> optax.GradientTransformation:
    return optax.adamw(rate, **{"weight_decay": 0.1, **changed})


STAIRS = optax.exponential_decay(RATE, 3, 0.5, staircase=True)


def torch_side() -> dict[str, Any]:
    torch.manual_seed(0)
    module = Net()
    optimizer = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=0.1)
    rng = np.random.default_rng(0)
    return {
        "reference": module,
        "batches": [
            (rng.normal(size=(8, 4)).astype(np.float32), rng.integers(0, 3, 8)) for _ in range(BATCHES)
        ],
        "loss": (torch.nn.functional.cross_entropy, None),
        "optimizer": optimizer,
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5),
    }


def jax_side(**changed: Any) -> dict[str, Any]:
    return {
        "candidate": port,
        "loss": (None, loss),
        "optimizer": (None, adamw(STAIRS)),
        "weights": parity.Weights(template=TEMPLATE, unused=["norm.running_*"]),
        **changed,
    }


def together(one: dict[str, Any], other: dict[str, Any]) -> parity.Report:
    pairs = {
        "loss": (one["loss"][0], other["loss"][1]),
        "optimizer": (one["optimizer"], other["optimizer"][1]),
    }
    return parity.check_training(**{**one, **other, **pairs})


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("recordings") / "reference"
    parity.record(place, trace=True, **torch_side())
    return place


def judged(report: parity.Report) -> list[object]:
    """Everything that a report says of its quantities."""
    return [json.dumps(dataclasses.asdict(q), default=str, sort_keys=True) for q in report.quantities]


CASES: dict[str, tuple[dict[str, Any], Phase | None, str]] = {
    "right": ({}, None, ""),
    "no schedule": ({"optimizer": (None, adamw(RATE))}, Phase.SCHEDULE, "has no schedule"),
    "epsilon": ({"optimizer": (None, adamw(STAIRS, eps=1e-5))}, Phase.UPDATE, "epsilon is 1e-08"),
    "a sum": ({"loss": (None, summed)}, Phase.LOSS, "8 x that of PyTorch"),
}


@pytest.mark.parametrize("name", list(CASES))
def test_recordings_say_what_both_models_together_say(name: str, recorded: Path, tmp_path: Path) -> None:
    changed, phase, cause = CASES[name]
    candidate = jax_side(**changed)
    expected = together(torch_side(), candidate)
    parity.record(tmp_path / "candidate", against=recorded, **candidate)
    apart, live = parity.compare(recorded, tmp_path / "candidate"), parity.compare(recorded, candidate)
    for report in (expected, apart, live):
        assert report.verdict is (parity.Verdict.PASS if phase is None else parity.Verdict.FAIL)
        assert (None if report.parting is None else report.parting.phase) is phase
        assert cause in str(report.parting)
    assert judged(apart) == judged(live) == judged(expected)
    # Two recordings have no program: of a loss they say all but the operation that its factor comes from.
    there = [f"; there: {d.cause.text}" for d in live.divergences[:1] if d.cause is not None]
    said = live.sides.named("".join([str(apart.parting), *there]))
    assert said == str(live.parting) == str(expected.parting)
    assert bool(there) == (phase is Phase.LOSS)
    places = [[d.candidate for d in report.divergences] for report in (live, expected)]
    assert places[0] == places[1]
    assert bool(places[0]) == (phase is Phase.LOSS)


ALONE = """
import sys
for name in {missing!r}:
    sys.modules[name] = None
import parity
print(parity.compare({reference!r}, {candidate!r}))
"""


@pytest.mark.parametrize("missing", [["torch"], ["torch", "jax", "flax", "optax"]], ids=["torch", "both"])
def test_recordings_are_compared_without_the_frameworks(
    missing: list[str], recorded: Path, tmp_path: Path
) -> None:
    place = tmp_path / "candidate"
    parity.record(place, against=recorded, **jax_side(optimizer=(None, adamw(STAIRS, eps=1e-5))))
    program = ALONE.format(missing=missing, reference=str(recorded), candidate=str(place))
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    said = " ".join(run.stdout.split())
    assert "parts at step 0, phase update" in said
    assert ("epsilon is 1e-08 in PyTorch and 1e-05 in JAX" in said) == (missing == ["torch"])
    assert ("rules are computed in JAX, which is not installed here" in said) == ("jax" in missing)


def test_a_candidate_trains_where_pytorch_is_not(recorded: Path, tmp_path: Path) -> None:
    program = (
        "import sys\nsys.modules['torch'] = None\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import jax.numpy as jnp, optax, parity\n"
        "def port(params, x):\n    return x @ params['kernel']\n"
        "def loss(outputs, targets):\n    return jnp.mean(outputs**2)\n"
        "report = parity.compare(sys.argv[1], dict(candidate=port, loss=(None, loss),\n"
        "    optimizer=(None, optax.sgd(0.1)),\n"
        "    weights=parity.Weights(template={'kernel': jnp.zeros((4, 2))})))\n"
        "print(report.verdict.value)\n"
    )
    torch.manual_seed(0)
    module = torch.nn.Linear(4, 2, bias=False)
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(3, 4)).astype(np.float32), np.zeros(3)) for _ in range(3)]
    parity.record(
        tmp_path / "small",
        reference=module,
        batches=batches,
        loss=(lambda outputs, targets: (outputs**2).mean(), None),
        optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
    )
    command = [sys.executable, "-c", program, str(tmp_path / "small")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "pass", run.stderr


def test_batches_of_a_pipeline_of_its_own_are_compared(recorded: Path, tmp_path: Path) -> None:
    other = [(2 * inputs, targets) for inputs, targets in torch_side()["batches"]]
    parity.record(tmp_path / "c", against=recorded, **jax_side(candidate_batches=other))
    report = parity.compare(recorded, tmp_path / "c")
    assert report.parting is not None
    assert report.parting.phase is Phase.DATA


def test_training_that_diverges_is_compared_up_to_there(tmp_path: Path) -> None:
    def squared(outputs: Any, targets: Any) -> Any:
        return ((outputs - targets) ** 2).mean()

    torch.manual_seed(0)
    module = torch.nn.Linear(4, 2, bias=False)
    rng = np.random.default_rng(0)
    batches = [
        (rng.normal(size=(3, 4)).astype(np.float32), np.ones((3, 2), np.float32)) for _ in range(BATCHES)
    ]
    one = {
        "reference": module,
        "batches": batches,
        "loss": (squared, None),
        "optimizer": torch.optim.SGD(module.parameters(), lr=1e3),
    }
    other = {
        "candidate": lambda params, x: x @ params["kernel"],
        "loss": (None, squared),
        "optimizer": (None, optax.sgd(1e3)),
        "weights": parity.Weights(template={"kernel": jnp.zeros((4, 2))}),
    }
    parity.record(tmp_path / "r", **one)
    report, expected = parity.compare(tmp_path / "r", other), together(one, other)
    assert judged(report) == judged(expected)
    assert [f for f in report.findings if "diverges" in f] == [
        f for f in expected.findings if "diverges" in f
    ]
    assert any("diverges" in finding for finding in report.findings)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer": None}, "`optimizer` is missing"),
        ({"optimizer": (None, 1.0)}, "must be an optax transformation"),
        ({"average": 0.9}, "recorded without `average`"),
        ({"loss": None}, "recorded with its own `loss`"),
        ({"stream": True}, "not recorded with `stream`"),
        ({"state": (1, 2)}, "step functions"),
        ({"optimiser": 1}, "did you mean 'optimizer'"),
    ],
)
def test_what_a_candidate_lacks_is_said(
    changed: dict[str, Any], message: str, recorded: Path, tmp_path: Path
) -> None:
    with pytest.raises((TypeError, ValueError), match=message.replace("(", r"\(")):
        parity.record(tmp_path / "c", against=recorded, **jax_side(**changed))
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("changed", ["first", "last", "optimizer"])
def test_a_candidate_of_another_recording_is_refused(changed: str, recorded: Path, tmp_path: Path) -> None:
    other = torch_side()
    if changed == "optimizer":
        other |= {"optimizer": torch.optim.SGD(other["reference"].parameters(), lr=RATE), "scheduler": None}
    else:
        at = 0 if changed == "first" else BATCHES - 1
        inputs, targets = other["batches"][at]
        other["batches"][at] = (2 * inputs, targets)
    parity.record(tmp_path / "other", **other)
    parity.record(tmp_path / "c", against=tmp_path / "other", **jax_side())
    with pytest.raises(ValueError, match="of another recording"):
        parity.compare(recorded, tmp_path / "c")


def test_a_check_and_a_training_are_not_mixed(recorded: Path, tmp_path: Path) -> None:
    module = torch.nn.Linear(4, 2)
    parity.record(tmp_path / "check", reference=module, inputs={"x": np.ones((2, 4), np.float32)})
    for pair in ((recorded, tmp_path / "check"), (tmp_path / "check", recorded)):
        with pytest.raises(ValueError, match="record both alike"):
            parity.compare(*pair)
