"""What a check of BERT costs: time, memory, and how often each side runs.

    python -m tests.cost          # 110 million parameters
    python -m tests.cost small    # two layers of width 32

The weights are random, the inputs two rows of sixteen tokens. With `wrong` the candidate has another eps.
"""

import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

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
        *words: "small", "wrong".
    """
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
