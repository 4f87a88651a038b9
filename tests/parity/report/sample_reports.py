"""Made-up reports, realistic in shape and size, for the tests of the renderers."""

import dataclasses
import math
import random

from parity.report.results import (
    AS_STORED,
    Cause,
    CauseKind,
    Curve,
    Divergence,
    Environment,
    Growth,
    Kind,
    Place,
    Quantity,
    Report,
    Verdict,
)
from parity.report.sides import TORCH_AND_JAX, Sides

ENVIRONMENT = Environment(
    {"python": "3.11.7", "torch": "2.13.0+cpu", "jax": "0.10.2", "flax": "0.12.8", "numpy": "2.4.6"},
    {"PyTorch": "cpu (2 cores)", "JAX": "cpu"},
    {"jax matmul precision": "highest", "torch matmul fp32": "ieee", "torch threads": "2"},
)
EPS = {"float64": 2e-16, "float32": 1e-7}
LAYERS = 12
FAULTY = 7
"""The layer of the made-up BERT whose normalisation has another epsilon."""

TORCH_FILE, JAX_FILE = "/home/ada/port/model.py", "/home/ada/port/model_jax.py"

LEAVES = [
    (f"encoder.layer.{i}.{torch}", f"encoder/layer_{i}/{jax}")
    for i in range(LAYERS)
    for torch, jax in (
        ("attention.query.weight", "attention/query/kernel"),
        ("attention.query.bias", "attention/query/bias"),
        ("output.dense.weight", "output/dense/kernel"),
        ("output.LayerNorm.weight", "output/norm/scale"),
    )
]

OPERATIONS = (
    ("mm", "attention.query"),
    ("mm", "attention.key"),
    ("bmm", "attention"),
    ("_softmax", "attention"),
    ("addmm", "output.dense"),
    ("native_layer_norm", "output.LayerNorm"),
)


def quantity(
    name: str, rho: float, dtype: str = "float64", scale: float = 1.0, **changes: object
) -> Quantity:
    """A gradient whose difference is `rho` times an honest one; over 10 it fails."""
    noise = 12 * EPS[dtype] * scale
    made = Quantity(
        "gradients",
        "gradients",
        name,
        dtype,
        Verdict.PASS if rho <= 10 else Verdict.FAIL,
        rho,
        rho * noise,
        scale,
        noise,
        noise / 2,
        shape=(768, 768),
        index=(3, 99),
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def failed(sides: Sides = TORCH_AND_JAX) -> Report:
    """A BERT of 12 layers with an epsilon of 1e-12 for 1e-6 in one layer, and a wrong reshape after it."""
    named = sides.named
    rng = random.Random(0)
    quantities = [
        Quantity("weights", "weights", torch, AS_STORED, Verdict.PASS, 0.0, 0.0, 1.0, candidate_name=jax)
        for torch, jax in LEAVES
    ]
    output = quantity("last_hidden_state", 2.9e8, stage="forward", group="outputs", shape=(2, 64, 768))
    narrow = dataclasses.replace(output, dtype="float32", rho=14.0, verdict=Verdict.PASS, accuracy=1.4)
    quantities += [
        output,
        dataclasses.replace(
            narrow, notes=(named("<reference> is further from float64 than <candidate> is"),)
        ),
    ]
    for dtype in EPS:
        for torch, jax in LEAVES:
            before = int(torch.split(".")[2]) < FAULTY  # its gradient has passed through the fault
            rho = 10 ** rng.uniform(4, 8) if before and dtype == "float64" else rng.uniform(0.01, 3)
            quantities.append(quantity(torch, rho, dtype, 10 ** rng.uniform(-4, 0), candidate_name=jax))
    quantities.append(
        quantity(
            "pooler.weight",
            0.1,
            verdict=Verdict.INCONCLUSIVE,
            program="reference against finite differences",
            notes=("one-ulp noise moves it by over a tenth of its scale: nothing can be said",),
        )
    )
    return Report(
        name="bert-base, Flax port",
        quantities=tuple(quantities),
        not_checked=("gradients with respect to the inputs", "sequences longer than 64 tokens"),
        plan=tuple(
            (torch, jax, "permute (1, 0)" if "kernel" in jax else "as it is") for torch, jax in LEAVES
        ),
        environment=ENVIRONMENT,
        seconds=93.2,
        divergences=(_epsilon(sides), _order(sides)),
        growth=(*_growth("forward", rng), *_growth("gradients", rng)),
        findings=(named("<candidate model> computes attention scores in float32 and casts afterwards"),),
        sides=sides,
    )


def _epsilon(sides: Sides) -> Divergence:
    module = f"encoder.layer.{FAULTY}.output.LayerNorm"
    text = sides.named("epsilon is 1e-12 in <candidate> and 1e-06 in <reference>; pass eps=1e-06.")
    code = "x = self.LayerNorm(dropped + residual)"
    lines = (
        ("rsqrt", 88, "h = (x - mean) * jax.lax.rsqrt(var + eps)  # eps=1e-12"),
        ("mul", 88, "h = (x - mean) * jax.lax.rsqrt(var + eps)  # eps=1e-12"),
        ("add", 89, 'return h * p["scale"] + p["bias"]'),
    )
    return Divergence(
        stage="forward",
        reference=(Place("aten.native_layer_norm", module, TORCH_FILE, 41, code),),
        candidate=tuple(
            Place(op, f"encoder/layer_{FAULTY}/output", JAX_FILE, n, code) for op, n, code in lines
        ),
        relative_error=4.6e-6,
        relative_yardstick=1.1e-14,
        shapes=((2, 64, 768), (2, 64, 768)),
        cause=Cause(CauseKind.EPSILON, text, 3.1e-16),
    )


def _order(sides: Sides) -> Divergence:
    return Divergence(
        stage="forward",
        reference=(Place("aten.view", "pooler", TORCH_FILE, 77, "x = x.view(b, h, t, d)"),),
        candidate=(
            Place("transpose", "pooler", JAX_FILE, 131, "x = x.transpose(0, 2, 1, 3)", "scan step 2"),
        ),
        kind="order",
        detail=sides.named(
            "<reference> has (batch, heads, tokens, features), <candidate> (batch, tokens, heads, features)."
        ),
        relative_error=1.31,
        relative_yardstick=2e-15,
        shapes=((2, 12, 64, 64), (2, 64, 12, 64)),
    )


def _growth(stage: str, rng: random.Random) -> list[Growth]:
    """Honest before the faulty layer, 1e-5 after it; exactly equal here and there."""
    growth = []
    layers = range(LAYERS) if stage == "forward" else range(LAYERS - 1, -1, -1)
    for layer in layers:
        matched = layer < FAULTY if stage == "forward" else layer >= FAULTY
        for k, (operation, part) in enumerate(OPERATIONS):
            honest = 1e-16 * (5 + len(growth))
            torch = Place(f"aten.{operation}", f"encoder.layer.{layer}.{part}", TORCH_FILE, 30 + k)
            jax = Place("dot_general", f"encoder/layer_{layer}", JAX_FILE, 60 + k)
            error = honest * rng.choice((0.0, rng.random())) if matched else 10 ** rng.uniform(-6, -5)
            growth.append(Growth(stage, torch, jax, error, honest, matched))
    return growth


def alike() -> Report:
    """The same pair where both sides are of one framework."""
    sides = Sides.of("JAX", "JAX")
    environment = Environment({"jax": "0.10.2"}, {"JAX": "cpu"}, {"jax matmul precision": "highest"})
    curves = trained(sides).quantities
    both = failed(sides)
    return dataclasses.replace(
        both, name="bert-base, rewritten", environment=environment, quantities=(*both.quantities, *curves)
    )


FIRST_FAILURE, HORIZON = 17, 30


def trained(sides: Sides = TORCH_AND_JAX) -> Report:
    """A training run whose losses part at one point, and whose accuracy cannot be judged from another on."""
    rng = random.Random(1)
    quantities = [
        quantity("W1", 0.2, stage="step", group="updates", scale=1e-3),
        *(_curve(name, dtype, rng) for dtype in EPS for name in ("train_loss", "val_loss", "train_accuracy")),
    ]
    return Report(
        "two_layer_tanh", tuple(quantities), ("optimiser state",), (), ENVIRONMENT, seconds=6.1, sides=sides
    )


def _curve(name: str, dtype: str, rng: random.Random) -> Quantity:
    points = range(40)
    falling = [2.3 * math.exp(-i / 14) + 0.02 * rng.random() for i in points]
    expected = [1 - 0.9 * math.exp(-i / 11) for i in points] if "accuracy" in name else falling
    bad, hidden = name == "train_loss", name == "train_accuracy" and dtype == "float32"
    honest = [value * EPS[dtype] * (1 + i) ** 2 for i, value in enumerate(expected)]
    if hidden:
        honest = [h * (2e3 if i >= HORIZON else 1) for i, h in enumerate(honest)]
    drift = [h * rng.random() for h in honest]
    if bad:
        drift[FIRST_FAILURE:] = [0.02 * 1.1**i for i in range(len(points) - FIRST_FAILURE)]
    rho = [d / h for d, h in zip(drift, honest, strict=True)]
    at = FIRST_FAILURE if bad else rho.index(max(rho))
    return quantity(
        name,
        rho[at],
        dtype,
        stage="curve",
        group="curve",
        verdict=Verdict.FAIL if bad else Verdict.INCONCLUSIVE if hidden else Verdict.PASS,
        difference=drift[at],
        scale=expected[at],
        shape=(len(points),),
        index=(at,),
        curve=Curve(
            tuple(expected),
            tuple(e + d for e, d in zip(expected, drift, strict=True)),
            tuple(honest),
            tuple(rho),
            FIRST_FAILURE if bad else None,
            HORIZON if hidden else None,
        ),
    )


def passed() -> Report:
    """A pair that agrees everywhere."""
    agreeing = [
        q
        if q.verdict is Verdict.PASS
        else dataclasses.replace(q, verdict=Verdict.PASS, rho=0.4, difference=0.4 * q.yardstick, notes=())
        for q in failed().quantities
    ]
    return Report("resnet-18", tuple(agreeing), ("other inputs",), (), ENVIRONMENT, seconds=8.4)


def stopped() -> Report:
    """A comparison in which a model raised."""
    error = (
        "TypeError: dot_general requires contracting dimensions to have the same shape, got (3,) and (4,)."
    )
    return Report("encoder", (), error=f"{error}\n  at model_jax.py:12", environment=ENVIRONMENT)


SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    f"</script></title></style>{SCRIPT}\"'><img src=x onerror=alert(2)>{{{{ 7 * 7 }}}}\x1b[31m\u202e\ud800]]>"
)
"""Markup, the ends of every element it may stand in, a template's braces, control characters."""


def hostile() -> Report:
    """A report in which every text that may come from a model is `HOSTILE`."""
    text = HOSTILE
    place = Place(text, text, f"/x/{text}.py", 3, text, text)
    curve = Curve((1.0, 0.5), (1.0, math.nan), (0.1, 0.1), (0.0, math.inf), 1, 1)
    output = Quantity(
        "forward", text, text, text, Verdict.FAIL, candidate_name=f"j{text}", program=text, notes=(text,)
    )
    cause = Cause(CauseKind.EPSILON, text, 0.0)
    return Report(
        name=text,
        quantities=(output, dataclasses.replace(output, stage="curve", curve=curve)),
        not_checked=(text,),
        plan=((text, text, text),),
        environment=Environment({text: text}, {text: text}, {text: text}),
        error=text,
        seconds=1.0,
        divergences=(Divergence("forward", (place, place), (place,), Kind.VALUE, text, cause=cause),),
        growth=(
            Growth("forward", place, place, math.inf, 0.0, False),
            Growth("gradients", place, place, 0.0, 0.0, True),
        ),
        findings=(text,),
    )


def large(rows: int = 5000) -> Report:
    """As many gradients as a large model has."""
    rng = random.Random(2)
    quantities = [
        quantity(f"block.{i}.weight", 10 ** rng.uniform(-2, 0.9), candidate_name=f"blocks/{i}/kernel")
        for i in range(rows)
    ]
    return Report("large", tuple(quantities), environment=ENVIRONMENT)


EXAMPLES = {make.__name__: make for make in (failed, alike, trained, passed, stopped, hostile, large)}
