"""What a check of BERT costs: time, memory, and how often each side runs.

    python -m tests.cost          # 110 million parameters
    python -m tests.cost small    # two layers of width 32
    python -m tests.cost outputs  # instead: models of 30, 100 and 300 outputs, with one fault and with four

The weights are random, the inputs two rows of sixteen tokens. With `wrong` the candidate has another eps.
"""

import functools
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from transformers import BertConfig, BertModel, FlaxBertModel

import parity
from parity.frameworks.jax.jax_program import JaxProgram
from parity.frameworks.torch.torch_program import TorchProgram

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 100,
    "max_position_embeddings": 32,
}


def main(*words: str) -> None:
    """Check BERT and print what it cost.

    Args:
        *words: "small", "wrong"; "outputs" for models of many outputs instead.
    """
    if "outputs" in words:
        many_outputs()
        return
    sizes: dict[str, Any] = SMALL if "small" in words else {}
    torch.manual_seed(0)
    config = BertConfig(**sizes)
    reference = BertModel(config).eval()
    candidate = FlaxBertModel(
        BertConfig(**sizes, layer_norm_eps=1e-5) if "wrong" in words else config, seed=0
    )
    # Not token 0: PyTorch's `padding_idx` keeps it out of training, and JAX's model does not.
    tokens = np.random.default_rng(0).integers(1, config.vocab_size, (2, 16)).astype(np.int32)
    passes = counted()
    started, before = time.perf_counter(), os.times()

    def progress(text: str) -> None:
        print(f"{time.perf_counter() - started:7.1f} s  {peak_gib():5.2f} GiB  {text}", flush=True)

    report = parity.check(reference, candidate, {"input_ids": tokens}, progress=progress)
    wall, after = time.perf_counter() - started, os.times()
    cpu = after.user - before.user + after.system - before.system
    print(f"{report.verdict}: {wall:.1f} s, {cpu:.1f} s of CPU time, peak {peak_gib():.2f} GiB")
    for (side, kind), number in sorted(passes.items()):
        print(f"{side}: {number} {kind}")


def many_outputs() -> None:
    """Check models of more and more outputs and print the CPU time: right, one fault for all, four faults."""
    print(f"{'outputs':>7}  {'right':>7}  {'one fault':>9}  {'four faults':>11}")
    for number in (30, 100, 300):
        torch.manual_seed(0)
        reference = ManyOutputs(number)
        x = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
        template = {
            name: jax.ShapeDtypeStruct(parameter.shape, np.float32)
            for name, parameter in reference.named_parameters()
        }
        seconds = []
        for scale, wrong in ((1.0, ()), (1.01, ()), (1.0, (0, number // 4, number // 2, number - 1))):
            candidate = functools.partial(many_outputs_in_jax, number=number, scale=scale, wrong=wrong)
            started = time.process_time()
            report = parity.check(reference, candidate, {"x": x}, weights=parity.Weights(template=template))
            seconds.append(time.process_time() - started)
            right = scale == 1.0 and not wrong
            assert (report.verdict is parity.Verdict.PASS) == right, report
        print("{:7d}  {:6.1f}s  {:8.1f}s  {:10.1f}s".format(number, *seconds), flush=True)


class ManyOutputs(torch.nn.Module):
    """One layer that all of many heads read."""

    def __init__(self, number: int) -> None:
        """`number` heads."""
        super().__init__()
        self.inner = torch.nn.Linear(8, 8)
        self.heads = torch.nn.ModuleList(torch.nn.Linear(8, 3) for _ in range(number))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """What each head says of x, (batch, 8): (batch, 3) each."""
        h = torch.tanh(self.inner(x))
        return [torch.sigmoid(head(h)) for head in self.heads]


def many_outputs_in_jax(
    params: dict[str, jax.Array], x: jax.Array, *, number: int, scale: float, wrong: tuple[int, ...]
) -> list[jax.Array]:
    """The same; the inner layer times `scale`, and another activation of the `wrong` heads.

    Args:
        params: PyTorch's parameters by name.
        x: (batch, 8).
        number: how many heads.
        scale: 1 of the right port.
        wrong: numbers of heads.
    """
    h = scale * jnp.tanh(x @ params["inner.weight"].T + params["inner.bias"])
    said = [h @ params[f"heads.{i}.weight"].T + params[f"heads.{i}.bias"] for i in range(number)]
    return [jnp.tanh(y) if i in wrong else jax.nn.sigmoid(y) for i, y in enumerate(said)]


def counted() -> Counter[tuple[str, str]]:
    """Count from now on what runs on each side: forward alone, or forward and backward."""
    passes: Counter[tuple[str, str]] = Counter()

    def counting(function: Callable[..., Any], side: str, names: str | None) -> Callable[..., Any]:
        def run(program: Any, *args: Any, **kwargs: Any) -> Any:
            both = names is not None and getattr(program, names)
            passes[side, "forward and backward" if both else "forward alone"] += 1
            return function(program, *args, **kwargs)

        return run

    TorchProgram._run = counting(TorchProgram._run, "PyTorch", "trainable")  # type: ignore[method-assign]
    TorchProgram._forward = counting(TorchProgram._forward, "PyTorch", None)  # type: ignore[method-assign]
    JaxProgram.__call__ = counting(JaxProgram.__call__, "JAX", "moved")  # type: ignore[method-assign]
    return passes


def peak_gib() -> float:
    """The most memory that this process has had so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main(*sys.argv[1:])
