"""Right ports of small language models."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import torch
from torch import nn
from torch.nn import functional as F

from tests.kit.conversion import dense, equinox, norm
from tests.kit.inputs import integers, normal
from tests.kit.pairs import Pair, to_function
from tests.kit.weights import randomise, weights
from tests.pairs.ports import port
from tests.pairs.recurrent import lstm

Array = jax.Array
KEY = jax.random.key(0)


def linear(p: Any, x: Array) -> Array:
    y = x @ p["kernel"]
    return y + p["bias"] if "bias" in p else y


def layer_norm(p: Any, x: Array) -> Array:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + 1e-5) * p["scale"] + p["bias"]


def rms_norm(p: Any, x: Array) -> Array:
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-6) * p["scale"]


class GPTBlock(nn.Module):
    """As in nanoGPT: packed attention with a causal buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(8)
        self.attn = nn.Linear(8, 24)
        self.attn_proj = nn.Linear(8, 8)
        self.ln_2 = nn.LayerNorm(8)
        self.fc = nn.Linear(8, 32)
        self.fc_proj = nn.Linear(32, 8)
        self.register_buffer("bias", torch.tril(torch.ones(1, 1, 10, 10)).bool(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        q, k, v = (part.view(n, t, 2, 4).transpose(1, 2) for part in self.attn(self.ln_1(x)).split(d, dim=2))
        scores = q @ k.transpose(-2, -1) / math.sqrt(4)
        scores = scores.masked_fill(~self.bias[:, :, :t, :t], float("-inf"))
        x = x + self.attn_proj((scores.softmax(-1) @ v).transpose(1, 2).contiguous().view(n, t, d))
        return x + self.fc_proj(F.gelu(self.fc(self.ln_2(x)), approximate="tanh"))


class GPT(nn.Module):
    """Token and position embeddings, blocks, a tied head."""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(17, 8)
        self.wpe = nn.Embedding(10, 8)
        self.h = nn.ModuleList([GPTBlock() for _ in range(2)])
        self.ln_f = nn.LayerNorm(8)
        self.lm_head = nn.Linear(8, 17, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


IDS = {"ids": integers(17, 2, 7)}
GPT_LINEAR = ("attn", "attn_proj", "fc", "fc_proj")


@port("gpt/plain")
def _() -> Pair:
    def block(p: Any, x: Array) -> Array:
        n, t, d = x.shape
        q, k, v = (
            part.reshape(n, t, 2, 4).transpose(0, 2, 1, 3)
            for part in jnp.split(linear(p["attn"], layer_norm(p["ln_1"], x)), 3, axis=-1)
        )
        scores = q @ k.swapaxes(-1, -2) / math.sqrt(4)
        scores = jnp.where(jnp.tril(jnp.ones((t, t), bool)), scores, -jnp.inf)
        h = (jax.nn.softmax(scores, axis=-1) @ v).transpose(0, 2, 1, 3).reshape(n, t, d)
        x = x + linear(p["attn_proj"], h)
        return x + linear(p["fc_proj"], jax.nn.gelu(linear(p["fc"], layer_norm(p["ln_2"], x))))

    def apply(p: Any, ids: Array) -> Array:
        x = p["wte"][ids] + p["wpe"][: ids.shape[1]]
        for own in p["h"]:
            x = block(own, x)
        return layer_norm(p["ln_f"], x) @ p["wte"].T

    reference = randomise(GPT())
    t = weights(reference)
    blocks = [
        {n: dense(t, f"h.{i}.{n}") for n in GPT_LINEAR} | {n: norm(t, f"h.{i}.{n}") for n in ("ln_1", "ln_2")}
        for i in range(2)
    ]
    params = {"wte": t["wte.weight"], "wpe": t["wpe.weight"], "h": blocks, "ln_f": norm(t, "ln_f")}
    return to_function(reference, apply, IDS, params)


@port("gpt/equinox")
def _() -> Pair:
    class Block(eqx.Module):
        norms: tuple[eqx.nn.LayerNorm, eqx.nn.LayerNorm]
        qkv: eqx.nn.Linear
        out: eqx.nn.Linear
        up: eqx.nn.Linear
        down: eqx.nn.Linear

        def __init__(self) -> None:
            self.norms = (eqx.nn.LayerNorm(8), eqx.nn.LayerNorm(8))
            self.qkv, self.out, self.up, self.down = (
                eqx.nn.Linear(n, m, key=KEY) for n, m in ((8, 24), (8, 8), (8, 32), (32, 8))
            )

        def __call__(self, x: Array) -> Array:
            t = len(x)
            q, k, v = jax.vmap(lambda x: self.qkv(self.norms[0](x)))(x).reshape(t, 3, 2, 4).swapaxes(0, 1)
            h = jax.nn.dot_product_attention(q, k, v, is_causal=True)
            x = x + jax.vmap(self.out)(h.reshape(t, 8))
            return x + jax.vmap(lambda x: self.down(jax.nn.gelu(self.up(self.norms[1](x)))))(x)

    class Net(eqx.Module):
        wte: eqx.nn.Embedding
        wpe: eqx.nn.Embedding
        blocks: list[Block]
        norm: eqx.nn.LayerNorm

        def __init__(self) -> None:
            self.wte = eqx.nn.Embedding(17, 8, key=KEY)
            self.wpe = eqx.nn.Embedding(10, 8, key=KEY)
            self.blocks = [Block(), Block()]
            self.norm = eqx.nn.LayerNorm(8)

        def __call__(self, ids: Array) -> Array:
            x = jax.vmap(self.wte)(ids) + self.wpe.weight[: len(ids)]
            for block in self.blocks:
                x = eqx.filter_checkpoint(block)(x)
            return jax.vmap(self.norm)(x) @ self.wte.weight.T

    reference = randomise(GPT())
    t = weights(reference)
    params = equinox(t, "wte", "wte") | equinox(t, "wpe", "wpe") | equinox(t, "ln_f", "norm")
    names = {
        "ln_1": "norms/0",
        "ln_2": "norms/1",
        "attn": "qkv",
        "attn_proj": "out",
        "fc": "up",
        "fc_proj": "down",
    }
    for i in range(2):
        for ours, theirs in names.items():
            params |= equinox(t, f"h.{i}.{ours}", f"blocks/{i}/{theirs}")
    return Pair(reference, Net(), IDS, params, single=True)  # jax.nn's attention has its softmax in float32


class Llama(nn.Module):
    """RMS norm, rotary positions, grouped queries, SwiGLU, no biases."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(13, 16)
        self.layers = nn.ModuleList([LlamaBlock() for _ in range(2)])
        self.norm = nn.RMSNorm(16, eps=1e-6)
        self.lm_head = nn.Linear(16, 13, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


class LlamaBlock(nn.Module):
    """Four heads of queries, two of keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(16, eps=1e-6)
        self.q_proj = nn.Linear(16, 16, bias=False)
        self.k_proj = nn.Linear(16, 8, bias=False)
        self.v_proj = nn.Linear(16, 8, bias=False)
        self.o_proj = nn.Linear(16, 16, bias=False)
        self.post_attention_layernorm = nn.RMSNorm(16, eps=1e-6)
        self.gate_proj = nn.Linear(16, 24, bias=False)
        self.up_proj = nn.Linear(16, 24, bias=False)
        self.down_proj = nn.Linear(24, 16, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, _ = x.shape
        h = self.input_layernorm(x)
        q = self.q_proj(h).view(n, t, 4, 4).transpose(1, 2)
        k = self.k_proj(h).view(n, t, 2, 4).transpose(1, 2)
        v = self.v_proj(h).view(n, t, 2, 4).transpose(1, 2)
        frequencies = 1.0 / 10000 ** (torch.arange(0, 4, 2).to(x) / 4)
        angles = torch.outer(torch.arange(t).to(x), frequencies)
        cos, sin = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()

        def rotated(x: torch.Tensor) -> torch.Tensor:
            half = torch.cat([-x[..., 2:], x[..., :2]], dim=-1)
            return x * cos + half * sin

        k, v = (y.repeat_interleave(2, dim=1) for y in (rotated(k), v))
        h = F.scaled_dot_product_attention(rotated(q), k, v, is_causal=True)
        x = x + self.o_proj(h.transpose(1, 2).reshape(n, t, 16))
        h = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))


@port("llama/plain")
def _() -> Pair:
    def rotate(x: Array) -> Array:
        """(N, T, ..., 4), halves rotated."""
        t = x.shape[1]
        frequencies = 10000.0 ** (-jnp.arange(0, 4, 2, dtype=x.dtype) / 4)
        angles = jnp.arange(t, dtype=x.dtype)[:, None] * frequencies
        angles = angles.reshape(t, *[1] * (x.ndim - 3), 2)
        a, b = jnp.split(x, 2, axis=-1)
        return jnp.concatenate(
            [a * jnp.cos(angles) - b * jnp.sin(angles), b * jnp.cos(angles) + a * jnp.sin(angles)], axis=-1
        )

    def block(p: Any, x: Array) -> Array:
        n, t, _ = x.shape
        h = rms_norm(p["attention_norm"], x)
        q = rotate(linear(p["wq"], h).reshape(n, t, 2, 2, 4))  # groups, heads of a group
        k = rotate(linear(p["wk"], h).reshape(n, t, 2, 4))
        v = linear(p["wv"], h).reshape(n, t, 2, 4)
        scores = jnp.einsum("ntghd,nsgd->nghts", q, k) / 2.0
        scores = jnp.where(jnp.arange(t)[:, None] >= jnp.arange(t), scores, jnp.finfo(x.dtype).min)
        h = jnp.einsum("nghts,nsgd->ntghd", jax.nn.softmax(scores), v).reshape(n, t, 16)
        x = x + linear(p["wo"], h)
        h = rms_norm(p["ffn_norm"], x)
        return x + linear(p["w2"], jax.nn.silu(linear(p["w1"], h)) * linear(p["w3"], h))

    def apply(p: Any, ids: Array) -> Array:
        x = p["tok_embeddings"][ids]
        x, _ = jax.lax.scan(lambda x, own: (block(own, x), None), x, p["layers"])
        return linear(p["output"], rms_norm(p["norm"], x))

    reference = randomise(Llama())
    t = weights(reference)
    names = {
        "wq": "q_proj",
        "wk": "k_proj",
        "wv": "v_proj",
        "wo": "o_proj",
        "w1": "gate_proj",
        "w2": "down_proj",
        "w3": "up_proj",
    }
    norms = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    layers = [
        {a: dense(t, f"layers.{i}.{b}") for a, b in names.items()}
        | {a: norm(t, f"layers.{i}.{b}") for a, b in norms.items()}
        for i in range(2)
    ]
    params = {
        "tok_embeddings": t["embed_tokens.weight"],
        "layers": jax.tree.map(lambda a, b: jnp.stack([a, b]), *layers),
        "norm": norm(t, "norm"),
        "output": dense(t, "lm_head"),
    }
    return to_function(reference, apply, IDS | {"ids": IDS["ids"] % 13}, params)


class T5(nn.Module):
    """Unscaled attention with a shared table of relative positions, in buckets, and ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Embedding(13, 8)
        self.relative_attention_bias = nn.Embedding(8, 2)
        self.layers = nn.ModuleList([T5Block() for _ in range(2)])
        self.final = nn.RMSNorm(8, eps=1e-6)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        at = torch.arange(ids.shape[1])
        distance = at[None, :] - at[:, None]
        bucket = (distance > 0).long() * 4
        distance = distance.abs()
        large = 2 + (torch.log(distance.clamp(min=1) / 2) / math.log(16 / 2) * 2).long()
        bucket = bucket + torch.where(distance < 2, distance, large.clamp(max=3))
        bias = self.relative_attention_bias(bucket).permute(2, 0, 1)[None]
        bias = bias + (1.0 - mask[:, None, None].to(bias)) * -1e9
        x = self.shared(ids)
        for layer in self.layers:
            x = layer(x, bias)
        return self.final(x)


class T5Block(nn.Module):
    """Attention without scale, then a feedforward part."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(8, eps=1e-6), nn.RMSNorm(8, eps=1e-6)
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8, bias=False) for _ in range(4))
        self.wi, self.wo = nn.Linear(8, 12, bias=False), nn.Linear(12, 8, bias=False)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        n, t, _ = x.shape
        h = self.norm1(x)
        q, k, v = (layer(h).view(n, t, 2, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        h = torch.softmax(q @ k.transpose(2, 3) + bias, dim=-1) @ v
        x = x + self.o(h.transpose(1, 2).reshape(n, t, 8))
        return x + self.wo(F.relu(self.wi(self.norm2(x))))


@port("t5/plain")
def _() -> Pair:
    def buckets(t: int) -> Array:
        distance = jnp.arange(t) - jnp.arange(t)[:, None]
        # 16 positions in four buckets each way: 0, 1, 2 to 5, further.
        far = jnp.searchsorted(jnp.asarray([1, 2, 6]), jnp.abs(distance), side="right")
        return jnp.where(distance > 0, 4, 0) + far

    def block(p: Any, x: Array, bias: Array) -> Array:
        n, t, _ = x.shape
        h = rms_norm(p["norm1"], x)
        q, k, v = (linear(p[name], h).reshape(n, t, 2, 4) for name in "qkv")
        attended = jax.nn.softmax(jnp.einsum("nthd,nshd->nhts", q, k) + bias, axis=-1)
        x = x + linear(p["o"], jnp.einsum("nhts,nshd->nthd", attended, v).reshape(n, t, 8))
        return x + linear(p["wo"], jax.nn.relu(linear(p["wi"], rms_norm(p["norm2"], x))))

    def apply(p: Any, ids: Array, mask: Array) -> Array:
        bias = p["relative_attention_bias"]["embedding"][buckets(ids.shape[1])].transpose(2, 0, 1)
        bias = jnp.where(mask[:, None, None], bias, -1e9)
        x = p["shared"]["embedding"][ids]
        for name in ("layers_0", "layers_1"):
            x = block(p[name], x, bias)
        return rms_norm(p["final"], x)

    reference = randomise(T5())
    t = weights(reference)
    params = {n: {"embedding": t[f"{n}.weight"]} for n in ("shared", "relative_attention_bias")}
    for i in range(2):
        own = {n: dense(t, f"layers.{i}.{n}") for n in ("q", "k", "v", "o", "wi", "wo")}
        params[f"layers_{i}"] = own | {n: norm(t, f"layers.{i}.{n}") for n in ("norm1", "norm2")}
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 6:] = False
    inputs = {"ids": integers(13, 2, 9), "mask": mask.numpy()}
    return to_function(reference, apply, inputs, params | {"final": norm(t, "final")})


class Tagger(nn.Module):
    """A bidirectional LSTM over embeddings, of which padding is cut off afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 5)
        self.lstm = nn.LSTM(5, 4, batch_first=True, bidirectional=True)
        self.tag = nn.Linear(8, 3)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h, (last, _) = self.lstm(self.embedding(tokens))
        return F.log_softmax(self.tag(h), dim=-1), last.transpose(0, 1).flatten(1)


@port("tagger/plain")
def _() -> Pair:
    def apply(p: Any, tokens: Array) -> tuple[Array, Array]:
        x = p["embedding"][tokens]
        ahead, back = lstm(p["lstm"]["forward"], x), lstm(p["lstm"]["backward"], x, reverse=True)
        logits = linear(p["tag"], jnp.concatenate([ahead, back], -1))
        return jax.nn.log_softmax(logits), jnp.concatenate([ahead[:, -1], back[:, 0]], -1)

    reference = randomise(Tagger())
    t = weights(reference)

    def direction(suffix: str) -> Any:
        return {
            "wi": t[f"lstm.weight_ih_{suffix}"].T,
            "wh": t[f"lstm.weight_hh_{suffix}"].T,
            "bi": t[f"lstm.bias_ih_{suffix}"],
            "bh": t[f"lstm.bias_hh_{suffix}"],
        }

    both = {"forward": direction("l0"), "backward": direction("l0_reverse")}
    params = {"embedding": t["embedding.weight"], "lstm": both, "tag": dense(t, "tag")}
    return to_function(reference, apply, {"tokens": integers(11, 3, 6)}, params)


class Mamba(nn.Module):
    """A selective state space: causal depthwise convolution, then a scan whose steps depend on the input."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj = nn.Linear(6, 16, bias=False)
        self.conv1d = nn.Conv1d(8, 8, 4, groups=8, padding=3)
        self.x_proj = nn.Linear(8, 2 + 2 * 3, bias=False)
        self.dt_proj = nn.Linear(2, 8)
        self.A_log = nn.Parameter(torch.zeros(8, 3))
        self.D = nn.Parameter(torch.zeros(8))
        self.out_proj = nn.Linear(8, 6, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u, z = self.in_proj(x).chunk(2, dim=-1)
        u = F.silu(self.conv1d(u.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
        dt, b, c = self.x_proj(u).split([2, 3, 3], dim=-1)
        dt = F.softplus(self.dt_proj(dt))
        decay = torch.exp(dt[..., None] * -torch.exp(self.A_log))
        drive = dt[..., None] * b[:, :, None] * u[..., None]
        h = torch.zeros_like(drive[:, 0])
        out = []
        for t in range(x.shape[1]):
            h = decay[:, t] * h + drive[:, t]
            out.append((h * c[:, t, None]).sum(-1))
        return self.out_proj((torch.stack(out, 1) + u * self.D) * F.silu(z))


@port("mamba/plain")
def _() -> Pair:
    def apply(p: Any, x: Array) -> Array:
        u, z = jnp.split(linear(p["in_proj"], x), 2, axis=-1)
        taps = p["conv1d"]["kernel"]  # (4, 1, 8)
        u = jax.lax.conv_general_dilated(
            u, taps, (1,), [(3, 0)], dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=8
        )
        u = jax.nn.silu(u + p["conv1d"]["bias"])
        dt, b, c = jnp.split(linear(p["x_proj"], u), [2, 5], axis=-1)
        dt = jax.nn.softplus(linear(p["dt_proj"], dt))
        decay = jnp.exp(-jnp.exp(p["A_log"]) * dt[..., None])
        drive = (dt * u)[..., None] * b[:, :, None]

        def combine(left: Any, right: Any) -> Any:
            return left[0] * right[0], right[0] * left[1] + right[1]

        _, h = jax.lax.associative_scan(combine, (decay, drive), axis=1)
        y = jnp.einsum("ntds,nts->ntd", h, c) + u * p["D"]
        return linear(p["out_proj"], y * jax.nn.silu(z))

    reference = randomise(Mamba())
    t = weights(reference)
    params = {n: dense(t, n) for n in ("in_proj", "x_proj", "dt_proj", "out_proj")}
    params["conv1d"] = {"kernel": t["conv1d.weight"].transpose(2, 1, 0), "bias": t["conv1d.bias"]}
    return to_function(reference, apply, {"x": normal(2, 7, 6)}, params | {"A_log": t["A_log"], "D": t["D"]})
