"""The random numbers of a PyTorch model, read from a stream that both sides share.

A dispatch mode sees every draw on its way to the generator: a dropout of any kind has become `bernoulli_`
there, that of attention and that between the layers of an LSTM, too. Whatever is drawn is written in its
place; below autograd it is a constant, as a drawn number is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped

from parity.frameworks.torch.torch_operations import Argument, AtenOperation, DispatchMode, bare_name
from parity.frameworks.torch.torch_places import here
from parity.numerics import draws
from parity.numerics.draws import Distribution, Draw, Share, share_of


class SharedDraws(DispatchMode):
    """Answers every draw from the stream, and notes it; one that it cannot answer repeats itself."""

    def __init__(self, shares: Sequence[Share], stack: list[str] | None = None) -> None:
        """A mode for one run of a model.

        Args:
            shares: where its draws read the stream, in order; those beyond read their own number.
            stack: paths of the modules that are running, the innermost last.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.shares, self.stack = shares, stack
        self.noted: list[Draw] = []

    def __torch_dispatch__(
        self,
        func: AtenOperation,
        types: Sequence[type],
        args: tuple[Argument, ...] = (),
        kwargs: Mapping[str, Argument] | None = None,
    ) -> object:
        kwargs = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        given = _named(func, args, kwargs)
        if not _draws(given):
            return func(*args, **kwargs)
        answer = ANSWERS.get(bare_name(func))
        share = share_of(self.shares, len(self.noted))
        found = answer(given, share) if answer is not None else None
        if found is None:
            return self._repeating(func, args, kwargs, share)
        result, distribution, shape, parameters = found
        self._note(Draw(distribution, tuple(shape), parameters))
        return result

    def _note(self, draw: Draw) -> None:
        spot = here(self.stack or [])
        layer = f"layer `{spot.module}`" if spot.module else ""
        self.noted.append(draw._replace(place=f"{spot.file}:{spot.line}" if spot.file else layer))

    def _repeating(
        self,
        func: AtenOperation,
        args: tuple[Argument, ...],
        kwargs: Mapping[str, Argument],
        share: Share,
    ) -> object:
        """PyTorch's own numbers, from a generator that starts anew in every run."""
        devices = [a.device for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor) and a.is_cuda]
        with torch.random.fork_rng(devices=list(dict.fromkeys(devices))):
            torch.manual_seed(draws.SEED + share.number)
            own = {**kwargs, "generator": None} if kwargs.get("generator") is not None else kwargs
            out = func(*args, **own)
        first = next((t for t in torch.utils._pytree.tree_leaves(out) if isinstance(t, torch.Tensor)), None)
        shape = () if first is None else tuple(first.shape)
        self._note(Draw(Distribution.OTHER, shape, name=bare_name(func).strip("_")))
        return out


Given = Mapping[str, Any]
"""The arguments of an operation by the names of its schema."""

Answer = tuple[object, Distribution, Sequence[int], tuple[float, ...]]
"""What an operation returns, and the draw: distribution, shape, parameters."""


def _named(func: AtenOperation, args: Sequence[Argument], kwargs: Mapping[str, Argument]) -> dict[str, Any]:
    """All arguments by name, defaults included."""
    schema = func._schema.arguments
    named: dict[str, Any] = {a.name: a.default_value for a in schema if a.has_default_value()}
    named.update((a.name, value) for a, value in zip(schema, args, strict=False))
    return {**named, **kwargs}


def _draws(given: Given) -> bool:
    """Whether an operation that may draw does: attention without dropout, and what does not train, do not."""
    if given.get("train") is False or given.get("training") is False:
        return False
    rate = given.get("dropout_p")
    return rate is None or rate > 0


def _filled(tensor: torch.Tensor, values: Shaped[np.ndarray, "..."]) -> torch.Tensor:
    """A tensor with these numbers written into it."""
    return tensor.copy_(torch.from_numpy(np.array(values)).to(tensor.device))


def _shape(given: Given) -> tuple[int, ...]:
    """The shape of what a factory makes, or a `_like` function."""
    like = given.get("self")
    return tuple(like.shape if isinstance(like, torch.Tensor) else given["size"])


def _made(
    given: Given, values: Shaped[np.ndarray, "..."], default: torch.dtype | None = None
) -> torch.Tensor:
    """What a factory would make, or a `_like` function, of these numbers."""
    like, dtype, device = given.get("self"), given.get("dtype"), given.get("device")
    if not isinstance(dtype, torch.dtype):  # a schema's default is a number
        dtype = like.dtype if isinstance(like, torch.Tensor) else default or torch.get_default_dtype()
    if device is None and isinstance(like, torch.Tensor):
        device = like.device
    return torch.from_numpy(np.array(values)).to(device=device, dtype=dtype)


def _bernoulli(given: Given, share: Share) -> Answer:
    """`bernoulli` of probabilities, or of one; in place or not."""
    into: torch.Tensor = given["self"]
    chance = given.get("p", into)
    if isinstance(chance, torch.Tensor):
        u = torch.from_numpy(draws.uniform(share, tuple(into.shape))).to(into.device)
        mask = u < chance.double()
        result = into.copy_(mask) if given["in_place"] else mask.to(into.dtype)
        return result, Distribution.BERNOULLI, into.shape, _single(chance)
    mask_of_one = draws.below(share, tuple(into.shape), chance)
    result = _filled(into, mask_of_one) if given["in_place"] else _made(given, mask_of_one)
    return result, Distribution.BERNOULLI, into.shape, (float(chance),)


def _single(chance: torch.Tensor) -> tuple[float, ...]:
    """The one probability of a tensor of probabilities, if it is one."""
    values = chance.detach().double().unique()
    return (float(values[0]),) if values.numel() == 1 else ()


def _native_dropout(given: Given, share: Share) -> Answer:
    x, rate = given["input"], float(given["p"])
    mask = torch.from_numpy(draws.below(share, tuple(x.shape), 1 - rate)).to(x.device)
    kept = x * mask * (1 / (1 - rate) if rate < 1 else 0.0)
    return (kept, mask), Distribution.BERNOULLI, x.shape, (1 - rate,)


def _uniform(given: Given, share: Share) -> Answer:
    into, low, high = given["self"], float(given["from"]), float(given["to"])
    values = low + (high - low) * draws.uniform(share, tuple(into.shape))
    return _filled(into, values), Distribution.UNIFORM, into.shape, (low, high)


def _rand(given: Given, share: Share) -> Answer:
    shape = _shape(given)
    return _made(given, draws.uniform(share, shape)), Distribution.UNIFORM, shape, (0.0, 1.0)


def _randn(given: Given, share: Share) -> Answer:
    shape = _shape(given)
    return _made(given, draws.normal(share, shape)), Distribution.NORMAL, shape, ()


def _normal(given: Given, share: Share) -> Answer | None:
    """`normal_` of a mean and a deviation, and `normal` of tensors or numbers."""
    mean, std = given.get("mean", 0.0), given.get("std", 1.0)
    if given["in_place"]:
        into = given["self"]
        values = mean + std * draws.normal(share, tuple(into.shape))
        return _filled(into, values), Distribution.NORMAL, into.shape, ()
    tensors = [value for value in (mean, std) if isinstance(value, torch.Tensor)]
    if not tensors:
        shape = _shape(given)
        return _made(given, mean + std * draws.normal(share, shape)), Distribution.NORMAL, shape, ()
    shape = tuple(torch.broadcast_shapes(*(tensor.shape for tensor in tensors)))
    standard = torch.from_numpy(draws.normal(share, shape)).to(tensors[0])
    return mean + std * standard, Distribution.NORMAL, shape, ()


def _exponential(given: Given, share: Share) -> Answer:
    into = given["self"]
    values = draws.exponential(share, tuple(into.shape)) / float(given["lambd"])
    return _filled(into, values), Distribution.EXPONENTIAL, into.shape, ()


def _randint(given: Given, share: Share) -> Answer:
    shape, low, high = _shape(given), int(given.get("low", 0)), int(given["high"])
    values = draws.integers(share, shape, low, high)
    return _made(given, values, torch.int64), Distribution.INTEGERS, shape, (low, high)


def _random(given: Given, share: Share) -> Answer | None:
    into, low, high = given["self"], given.get("from", 0), given.get("to")
    if high is None:
        return None
    values = draws.integers(share, tuple(into.shape), int(low), int(high))
    return _filled(into, values), Distribution.INTEGERS, into.shape, (low, high)


def _multinomial(given: Given, share: Share) -> Answer | None:
    """One index per row: the largest of log p + Gumbel, as JAX draws a category."""
    weights = given["self"]
    if given["num_samples"] != 1:
        return None
    noise = torch.from_numpy(draws.gumbel(share, tuple(weights.shape))).to(weights.device)
    chosen = (weights.double().log() + noise).argmax(-1, keepdim=True)
    return chosen, Distribution.GUMBEL, weights.shape, ()


def _rrelu(given: Given, share: Share) -> Answer:
    """A leaky ReLU with random slopes, which are written into `noise` for the gradient."""
    x, noise = given["self"], given["noise"]
    low, high = float(given["lower"]), float(given["upper"])
    slopes = low + (high - low) * draws.uniform(share, tuple(x.shape))
    drawn = torch.from_numpy(slopes).to(noise)
    noise.copy_(torch.where(x <= 0, drawn, torch.ones_like(drawn)))
    result = x.mul_(noise) if given["in_place"] else x * noise
    return result, Distribution.UNIFORM, x.shape, (low, high)


def _placed(rule: Callable[[Given, Share], Answer | None], in_place: bool) -> Callable[..., Answer | None]:
    return lambda given, share: rule({**given, "in_place": in_place}, share)


ANSWERS: Mapping[str, Callable[[Given, Share], Answer | None]] = {
    "bernoulli": _placed(_bernoulli, False),
    "bernoulli_": _placed(_bernoulli, True),
    "native_dropout": _native_dropout,
    "uniform_": _uniform,
    **dict.fromkeys(("rand", "rand_like"), _rand),
    **dict.fromkeys(("randn", "randn_like"), _randn),
    "normal": _placed(_normal, False),
    "normal_": _placed(_normal, True),
    "exponential_": _exponential,
    **dict.fromkeys(("randint", "randint_like"), _randint),
    "random_": _random,
    "multinomial": _multinomial,
    "rrelu_with_noise": _placed(_rrelu, False),
    "rrelu_with_noise_": _placed(_rrelu, True),
}
"""How a draw is answered, by the name of the aten operation; None where it is not with these arguments."""
