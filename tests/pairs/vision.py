"""Right ports of small image networks."""

import math
from typing import Any

import flax.linen as linen
import jax
import jax.numpy as jnp
import torch
from flax import nnx
from torch import nn
from torch.nn import functional as F

from tests.kit.conversion import conv, dense, norm, stats
from tests.kit.inputs import NHWC, normal
from tests.kit.pairs import Pair, built, to_function
from tests.kit.weights import randomise, weights
from tests.pairs.ports import port

Array = jax.Array


def conv2d(p: Any, x: Array, stride: int = 1, padding: int = 0, groups: int = 1) -> Array:
    pads = [(padding, padding)] * 2
    numbers = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
        x, p["kernel"], (stride, stride), pads, dimension_numbers=numbers, feature_group_count=groups
    )
    return y + p["bias"] if "bias" in p else y


def linear(p: Any, x: Array) -> Array:
    return x @ p["kernel"] + p["bias"]


def batch_norm(p: Any, x: Array) -> Array:
    return (x - p["mean"]) * (p["scale"] / jnp.sqrt(p["var"] + 1e-5)) + p["bias"]


def layer_norm(p: Any, x: Array, epsilon: float = 1e-5) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt(jnp.mean(centred**2, -1, keepdims=True) + epsilon) * p["scale"] + p["bias"]


def gelu(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)


def attention(qkv: Array, heads: int, bias: Array | None = None) -> Array:
    """(N, T, 3 D), packed as [q, k, v] x heads, to (N, T, D)."""
    n, t, width = qkv.shape
    q, k, v = jnp.moveaxis(qkv.reshape(n, t, 3, heads, width // 3 // heads), 2, 0)
    scores = jnp.einsum("nthd,nshd->nhts", q, k) / math.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores + bias
    return jnp.einsum("nhts,nshd->nthd", jax.nn.softmax(scores), v).reshape(n, t, -1)


class Residual(nn.Module):
    """Two convolutions round a shortcut, which is projected where sizes change."""

    def __init__(self, n: int, m: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n, m, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(m)
        self.conv2 = nn.Conv2d(m, m, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(m)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(n, m, 1, stride, bias=False), nn.BatchNorm2d(m))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """torchvision's layout in small: stem, pooling, two stages, head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5, 2, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.layer1 = nn.Sequential(Residual(6, 6, 1), Residual(6, 6, 1))
        self.layer2 = nn.Sequential(Residual(6, 8, 2), Residual(8, 8, 1))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


RESNET = {"x": normal(2, 3, 16, 20)}
BLOCKS = (("layer1", 0, 1), ("layer1", 1, 1), ("layer2", 0, 2), ("layer2", 1, 1))


@port("resnet/plain")
def _() -> Pair:
    def block(p: Any, x: Array, stride: int) -> Array:
        y = jax.nn.relu(batch_norm(p["bn1"], conv2d(p["conv1"], x, stride, 1)))
        y = batch_norm(p["bn2"], conv2d(p["conv2"], y, 1, 1))
        if "downsample" in p:
            x = batch_norm(p["downsample"]["bn"], conv2d(p["downsample"]["conv"], x, stride))
        return jax.nn.relu(x + y)

    def apply(p: Any, x: Array) -> Array:
        x = jax.nn.relu(batch_norm(p["bn1"], conv2d(p["conv1"], x, 2, 2)))
        pads = ((0, 0), (1, 1), (1, 1), (0, 0))
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)
        for layer, i, stride in BLOCKS:
            x = block(p[layer][i], x, stride)
        return linear(p["fc"], x.mean((1, 2)))

    reference = randomise(ResNet())
    t = weights(reference)

    def both(name: str) -> Any:
        return norm(t, name) | stats(t, name)

    params: dict[str, Any] = {"conv1": conv(t, "conv1"), "bn1": both("bn1"), "layer1": [], "layer2": []}
    for layer, i, stride in BLOCKS:
        name = f"{layer}.{i}."
        p = {n: conv(t, name + n) for n in ("conv1", "conv2")} | {n: both(name + n) for n in ("bn1", "bn2")}
        if stride > 1:
            p["downsample"] = {"conv": conv(t, name + "downsample.0"), "bn": both(name + "downsample.1")}
        params[layer].append(p)
    return to_function(reference, apply, RESNET, params | {"fc": dense(t, "fc")}, layout={"x": NHWC})


@port("resnet/linen")
def _() -> Pair:
    class Block(linen.Module):
        width: int
        stride: int

        @linen.compact
        def __call__(self, x: Array, train: bool) -> Array:
            def bn() -> linen.Module:
                return linen.BatchNorm(use_running_average=not train, epsilon=1e-5)

            same = ((1, 1), (1, 1))
            y = linen.Conv(self.width, (3, 3), self.stride, same, use_bias=False)(x)
            y = linen.Conv(self.width, (3, 3), 1, same, use_bias=False)(linen.relu(bn()(y)))
            y = bn()(y)
            if self.stride > 1:
                x = bn()(linen.Conv(self.width, (1, 1), self.stride, "VALID", use_bias=False)(x))
            return linen.relu(x + y)

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: Array, train: bool = True) -> Array:
            x = linen.Conv(6, (5, 5), 2, ((2, 2), (2, 2)), use_bias=False)(x)
            x = linen.relu(linen.BatchNorm(use_running_average=not train, epsilon=1e-5)(x))
            x = linen.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
            for width, stride in ((6, 1), (6, 1), (8, 2), (8, 1)):
                x = Block(width, stride)(x, train)
            return linen.Dense(5)(x.mean((1, 2)))

    reference = randomise(ResNet())
    t = weights(reference)
    params = {"Conv_0": conv(t, "conv1"), "BatchNorm_0": norm(t, "bn1"), "Dense_0": dense(t, "fc")}
    batch_stats: dict[str, Any] = {"BatchNorm_0": stats(t, "bn1")}
    for k, (layer, i, stride) in enumerate(BLOCKS):
        name = f"{layer}.{i}."
        convs, norms = ["conv1", "conv2"], ["bn1", "bn2"]
        if stride > 1:
            convs, norms = [*convs, "downsample.0"], [*norms, "downsample.1"]
        params[f"Block_{k}"] = {f"Conv_{j}": conv(t, name + n) for j, n in enumerate(convs)}
        params[f"Block_{k}"] |= {f"BatchNorm_{j}": norm(t, name + n) for j, n in enumerate(norms)}
        batch_stats[f"Block_{k}"] = {f"BatchNorm_{j}": stats(t, name + n) for j, n in enumerate(norms)}
    variables = {"params": params, "batch_stats": batch_stats}
    return Pair(reference, Net(), RESNET, variables, layout={"x": NHWC})


class Encoder(nn.Module):
    """A pre-norm transformer block with packed attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, width)
        x = x + self.proj(h)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    """Patches, a class token, learned positions, two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 8, 4, 4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.pos_embed = nn.Parameter(torch.zeros(1, 13, 8))
        self.blocks = nn.ModuleList([Encoder(8, 2) for _ in range(2)])
        self.norm = nn.LayerNorm(8, eps=1e-6)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return {"logits": self.head(x[:, 0]), "features": x}


VIT = {"pixels": normal(2, 3, 12, 16)}


def vit_params(t: Any) -> Any:
    def block(i: int) -> Any:
        name = f"blocks.{i}."
        p = {n: norm(t, name + n) for n in ("norm1", "norm2")}
        return p | {n: dense(t, name + n) for n in ("qkv", "proj", "fc1", "fc2")}

    return {
        "patch_embed": conv(t, "patch_embed"),
        "cls_token": t["cls_token"],
        "pos_embed": t["pos_embed"],
        "blocks": {0: block(0), 1: block(1)},
        "norm": norm(t, "norm"),
        "head": dense(t, "head"),
    }


@port("vit/plain")
def _() -> Pair:
    def apply(p: Any, pixels: Array) -> dict[str, Array]:
        n, h, w, _ = pixels.shape
        # Patches by reshaping, not by a convolution.
        x = pixels.reshape(n, h // 4, 4, w // 4, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(n, -1, 48)
        x = x @ p["patch_embed"]["kernel"].reshape(48, 8) + p["patch_embed"]["bias"]
        x = jnp.concatenate([jnp.tile(p["cls_token"], (n, 1, 1)), x], 1) + p["pos_embed"]
        for block in p["blocks"].values():
            qkv = linear(block["qkv"], layer_norm(block["norm1"], x, 1e-6))
            x = x + linear(block["proj"], attention(qkv, 2))
            x = x + linear(block["fc2"], gelu(linear(block["fc1"], layer_norm(block["norm2"], x, 1e-6))))
        x = layer_norm(p["norm"], x, 1e-6)
        return {"features": x, "logits": linear(p["head"], x[:, 0])}

    reference = randomise(ViT())
    return to_function(reference, apply, VIT, vit_params(weights(reference)), layout={"pixels": NHWC})


@port("vit/nnx")
def _() -> Pair:
    class Block(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.norm1 = nnx.LayerNorm(8, rngs=rngs)
            self.qkv = nnx.Linear(8, 24, rngs=rngs)
            self.proj = nnx.Linear(8, 8, rngs=rngs)
            self.norm2 = nnx.LayerNorm(8, rngs=rngs)
            self.fc1 = nnx.Linear(8, 16, rngs=rngs)
            self.fc2 = nnx.Linear(16, 8, rngs=rngs)
            self.drop = nnx.Dropout(0.1, rngs=rngs)

        def __call__(self, x: Array) -> Array:
            x = x + self.drop(self.proj(attention(self.qkv(self.norm1(x)), 2)))
            return x + self.drop(self.fc2(gelu(self.fc1(self.norm2(x)))))

    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.patch_embed = nnx.Conv(3, 8, (4, 4), 4, padding="VALID", rngs=rngs)
            self.cls_token = nnx.Param(jnp.zeros((1, 1, 8)))
            self.pos_embed = nnx.Param(jnp.zeros((1, 13, 8)))
            self.blocks = nnx.List([Block(rngs) for _ in range(2)])
            self.norm = nnx.LayerNorm(8, rngs=rngs)
            self.head = nnx.Linear(8, 5, rngs=rngs)

        def __call__(self, pixels: Array) -> dict[str, Array]:
            x = self.patch_embed(pixels)
            x = x.reshape(len(x), -1, 8)
            token = jnp.broadcast_to(self.cls_token[...], (len(x), 1, 8))
            x = jnp.concatenate([token, x], axis=1) + self.pos_embed[...]
            for block in self.blocks:
                x = block(x)
            x = self.norm(x)
            return {"logits": self.head(x[:, 0]), "features": x}

    reference = randomise(ViT())
    return Pair(reference, built(Net), VIT, vit_params(weights(reference)), layout={"pixels": NHWC})


class UNet(nn.Module):
    """Down by pooling, up by transposed convolutions, skips by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(2, 4, 3, padding=1)
        self.down2 = nn.Conv2d(4, 6, 3, padding=1)
        self.middle = nn.Conv2d(6, 8, 3, padding=1)
        self.up2 = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.merge2 = nn.Conv2d(12, 6, 3, padding=1)
        self.up1 = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.merge1 = nn.Conv2d(8, 4, 3, padding=1)
        self.out = nn.Conv2d(4, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = F.leaky_relu(self.down1(x), 0.1)
        two = F.leaky_relu(self.down2(F.max_pool2d(one, 2)), 0.1)
        x = F.leaky_relu(self.middle(F.avg_pool2d(two, 2)), 0.1)
        x = F.leaky_relu(self.merge2(torch.cat([self.up2(x), two], dim=1)), 0.1)
        x = F.leaky_relu(self.merge1(torch.cat([self.up1(x), one], dim=1)), 0.1)
        return self.out(x)


UNET = {"image": normal(2, 2, 8, 12)}


def up_kernel(t: Any, name: str) -> Any:
    return {"kernel": t[f"{name}.weight"][:, :, ::-1, ::-1].transpose(2, 3, 0, 1), "bias": t[f"{name}.bias"]}


def unet_params(t: Any) -> Any:
    names = ("down1", "down2", "middle", "merge2", "merge1", "out")
    return {n: conv(t, n) for n in names} | {n: up_kernel(t, n) for n in ("up1", "up2")}


@port("unet/plain")
def _() -> Pair:
    """The port gives its image back in PyTorch's layout."""

    def up(p: Any, x: Array) -> Array:
        return jax.lax.conv_transpose(x, p["kernel"], (2, 2), "VALID") + p["bias"]

    def apply(p: Any, image: Array) -> Array:
        one = jax.nn.leaky_relu(conv2d(p["down1"], image, 1, 1), 0.1)
        window = ((1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x = jax.lax.reduce_window(one, -jnp.inf, jax.lax.max, *window)
        two = jax.nn.leaky_relu(conv2d(p["down2"], x, 1, 1), 0.1)
        x = jax.lax.reduce_window(two, 0.0, jax.lax.add, *window) / 4
        x = jax.nn.leaky_relu(conv2d(p["middle"], x, 1, 1), 0.1)
        x = jax.nn.leaky_relu(conv2d(p["merge2"], jnp.concatenate([up(p["up2"], x), two], -1), 1, 1), 0.1)
        x = jax.nn.leaky_relu(conv2d(p["merge1"], jnp.concatenate([up(p["up1"], x), one], -1), 1, 1), 0.1)
        return conv2d(p["out"], x).transpose(0, 3, 1, 2)

    reference = randomise(UNet())
    return to_function(reference, apply, UNET, unet_params(weights(reference)), layout={"image": NHWC})


@port("unet/nnx-images-out")
def _() -> Pair:
    """The port gives its image back in its own layout."""

    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.down1 = nnx.Conv(2, 4, (3, 3), rngs=rngs)
            self.down2 = nnx.Conv(4, 6, (3, 3), rngs=rngs)
            self.middle = nnx.Conv(6, 8, (3, 3), rngs=rngs)
            self.up2 = nnx.ConvTranspose(8, 6, (2, 2), (2, 2), padding="VALID", rngs=rngs)
            self.merge2 = nnx.Conv(12, 6, (3, 3), rngs=rngs)
            self.up1 = nnx.ConvTranspose(6, 4, (2, 2), (2, 2), padding="VALID", rngs=rngs)
            self.merge1 = nnx.Conv(8, 4, (3, 3), rngs=rngs)
            self.out = nnx.Conv(4, 3, (1, 1), rngs=rngs)

        def __call__(self, image: Array) -> Array:
            one = nnx.leaky_relu(self.down1(image), 0.1)
            two = nnx.leaky_relu(self.down2(nnx.max_pool(one, (2, 2), (2, 2))), 0.1)
            x = nnx.leaky_relu(self.middle(nnx.avg_pool(two, (2, 2), (2, 2))), 0.1)
            x = nnx.leaky_relu(self.merge2(jnp.concatenate([self.up2(x), two], -1)), 0.1)
            x = nnx.leaky_relu(self.merge1(jnp.concatenate([self.up1(x), one], -1)), 0.1)
            return self.out(x)

    reference = randomise(UNet())
    pick = (lambda out: out.movedim(1, -1), None)
    params = unet_params(weights(reference))
    return Pair(reference, built(Net), UNET, params, layout={"image": NHWC}, outputs=pick)


class Mixer(nn.Module):
    """Two MLP-Mixer blocks on patches."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 4, 4)
        self.norm1, self.norm2 = (nn.ModuleList([nn.LayerNorm(6) for _ in range(2)]) for _ in range(2))
        self.tokens = nn.ModuleList(
            [nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 6)) for _ in range(2)]
        )
        self.channels = nn.ModuleList(
            [nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 6)) for _ in range(2)]
        )
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        for norm1, norm2, tokens, channels in zip(
            self.norm1, self.norm2, self.tokens, self.channels, strict=True
        ):
            x = x + tokens(norm1(x).transpose(1, 2)).transpose(1, 2)
            x = x + channels(norm2(x))
        return self.head(x.mean(1))


MIXER = {"x": normal(2, 3, 8, 12)}  # as many tokens as channels: everything square


@port("mixer/plain")
def _() -> Pair:
    def mlp(p: Any, x: Array) -> Array:
        return linear(p["out"], gelu(linear(p["in"], x)))

    def apply(p: Any, x: Array) -> Array:
        x = conv2d(p["stem"], x, 4)
        x = x.reshape(len(x), -1, x.shape[-1])
        for block in p["blocks"]:
            h = layer_norm(block["token_norm"], x)
            x = x + jnp.swapaxes(mlp(block["token_mlp"], jnp.swapaxes(h, 1, 2)), 1, 2)
            x = x + mlp(block["channel_mlp"], layer_norm(block["channel_norm"], x))
        return linear(p["head"], x.mean(1))

    reference = randomise(Mixer())
    t = weights(reference)
    blocks = [
        {
            "token_norm": norm(t, f"norm1.{i}"),
            "token_mlp": {"in": dense(t, f"tokens.{i}.0"), "out": dense(t, f"tokens.{i}.2")},
            "channel_norm": norm(t, f"norm2.{i}"),
            "channel_mlp": {"in": dense(t, f"channels.{i}.0"), "out": dense(t, f"channels.{i}.2")},
        }
        for i in range(2)
    ]
    params = {"stem": conv(t, "stem"), "blocks": blocks, "head": dense(t, "head")}
    return to_function(reference, apply, MIXER, params, layout={"x": NHWC})


class ConvNeXt(nn.Module):
    """A depthwise convolution, a norm over channels, a layer scale; twice."""

    def __init__(self) -> None:
        super().__init__()
        self.dwconv = nn.ModuleList([nn.Conv2d(6, 6, 7, padding=3, groups=6) for _ in range(2)])
        self.norm = nn.ModuleList([nn.LayerNorm(6, eps=1e-6) for _ in range(2)])
        self.pwconv1 = nn.ModuleList([nn.Linear(6, 24) for _ in range(2)])
        self.pwconv2 = nn.ModuleList([nn.Linear(24, 6) for _ in range(2)])
        self.gamma = nn.ParameterList([nn.Parameter(torch.zeros(6)) for _ in range(2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i in range(2):
            h = self.norm[i](self.dwconv[i](x).permute(0, 2, 3, 1))
            h = self.gamma[i] * self.pwconv2[i](F.gelu(self.pwconv1[i](h)))
            x = x + h.permute(0, 3, 1, 2)
        return x.amax(dim=(2, 3))


@port("convnext/plain")
def _() -> Pair:
    def apply(p: Any, x: Array) -> Array:
        def block(x: Array, p: Any) -> tuple[Array, None]:
            h = layer_norm(p["norm"], conv2d(p["dwconv"], x, 1, 3, groups=6), 1e-6)
            return x + p["gamma"] * linear(p["pwconv2"], gelu(linear(p["pwconv1"], h))), None

        x, _ = jax.lax.scan(block, x, p)
        return x.max((1, 2))

    reference = randomise(ConvNeXt())
    t = weights(reference)
    blocks = [
        {
            "dwconv": conv(t, f"dwconv.{i}"),
            "norm": norm(t, f"norm.{i}"),
            "pwconv1": dense(t, f"pwconv1.{i}"),
            "pwconv2": dense(t, f"pwconv2.{i}"),
            "gamma": t[f"gamma.{i}"],
        }
        for i in range(2)
    ]
    params = jax.tree.map(lambda a, b: jnp.stack([a, b]), *blocks)
    return to_function(reference, apply, {"x": normal(2, 6, 9, 8)}, params, layout={"x": NHWC})


class MobileBlock(nn.Module):
    """Expansion, depthwise convolution, squeeze and excitation, projection, as in MobileNetV3."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(4, 12, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(12, eps=1e-3)
        self.depthwise = nn.Conv2d(12, 12, 5, 1, 2, groups=12, bias=False)
        self.norm2 = nn.BatchNorm2d(12, eps=1e-3)
        self.reduce = nn.Conv2d(12, 3, 1)
        self.excite = nn.Conv2d(3, 12, 1)
        self.project = nn.Conv2d(12, 4, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(4, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.hardswish(self.norm1(self.expand(x)))
        h = F.relu6(self.norm2(self.depthwise(h)))
        s = F.adaptive_avg_pool2d(h, 1)
        h = h * F.hardsigmoid(self.excite(F.relu(self.reduce(s))))
        return (x + self.norm3(self.project(h))).flatten(2).std(dim=2)


@port("mobilenet/plain")
def _() -> Pair:
    def bn(p: Any, x: Array) -> Array:
        return (x - p["mean"]) * jax.lax.rsqrt(p["var"] + 1e-3) * p["scale"] + p["bias"]

    def apply(p: Any, x: Array) -> Array:
        h = jax.nn.hard_swish(bn(p["norm1"], conv2d(p["expand"], x)))
        h = jax.nn.relu6(bn(p["norm2"], conv2d(p["depthwise"], h, 1, 2, groups=12)))
        s = jax.nn.relu(linear(p["reduce"], h.mean((1, 2), keepdims=True)))
        h = h * jax.nn.hard_sigmoid(linear(p["excite"], s))
        x = x + bn(p["norm3"], conv2d(p["project"], h))
        return x.reshape(len(x), -1, x.shape[-1]).std(axis=1, ddof=1)

    reference = randomise(MobileBlock())
    t = weights(reference)
    params: dict[str, Any] = {n: conv(t, n) for n in ("expand", "depthwise", "project")}
    params |= {n: norm(t, n) | stats(t, n) for n in ("norm1", "norm2", "norm3")}
    for n in ("reduce", "excite"):  # convolutions of one pixel as linear layers
        params[n] = {"kernel": t[f"{n}.weight"][:, :, 0, 0].T, "bias": t[f"{n}.bias"]}
    return to_function(reference, apply, {"x": normal(2, 4, 7, 6)}, params, layout={"x": NHWC})


class Swin(nn.Module):
    """Shifted windows: roll, cut into windows, attention with a relative bias and a mask, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.qkv = nn.Linear(6, 18)
        self.table = nn.Parameter(torch.zeros(9, 2))
        self.proj = nn.Linear(6, 6)
        y, x = torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij")
        at = torch.stack([y.flatten(), x.flatten()])
        offset = at[:, :, None] - at[:, None, :] + 1
        self.register_buffer("index", offset[0] * 3 + offset[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, h, w, c = x.shape
        y = torch.roll(self.norm(x), (-1, -1), (1, 2))
        y = y.view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        q, k, v = self.qkv(y).view(-1, 4, 3, 2, 3).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index.flatten()].view(4, 4, 2).permute(2, 0, 1)
        region = torch.zeros(h, w)
        region[-1:, :] += 1
        region[:, -1:] += 2
        region = (
            torch.roll(region, (0, 0), (0, 1)).view(h // 2, 2, w // 2, 2).permute(0, 2, 1, 3).reshape(-1, 4)
        )
        mask = (region[:, None, :] != region[:, :, None]).float() * -100.0
        scores = q @ k.transpose(-2, -1) * 3**-0.5 + bias
        scores = scores.view(n, -1, 2, 4, 4) + mask[:, None].to(scores)
        y = scores.view(-1, 2, 4, 4).softmax(-1) @ v
        y = self.proj(y.transpose(1, 2).reshape(-1, 4, c))
        y = y.view(n, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        return x + torch.roll(y, (1, 1), (1, 2))


@port("swin/plain")
def _() -> Pair:
    def windows(x: Array) -> Array:
        n, h, w = x.shape[:3]
        return x.reshape(n, h // 2, 2, w // 2, 2, -1).swapaxes(2, 3).reshape(-1, 4, x.shape[-1])

    def apply(p: Any, x: Array) -> Array:
        n, h, w, c = x.shape
        cut = windows(jnp.roll(layer_norm(p["norm"], x), (-1, -1), (1, 2)))
        region = jnp.zeros((1, h, w, 1)).at[:, -1:].add(1).at[:, :, -1:].add(2)
        region = windows(region)[..., 0]
        mask = jnp.where(region[:, None] == region[..., None], 0.0, -100.0)
        bias = p["table"][jnp.asarray([[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]])]
        mask = jnp.tile(mask[:, None], (n, 1, 1, 1)).astype(x.dtype)
        y = linear(p["proj"], attention(linear(p["qkv"], cut), 2, bias.transpose(2, 0, 1) + mask))
        y = y.reshape(n, h // 2, w // 2, 2, 2, c).swapaxes(2, 3).reshape(n, h, w, c)
        return x + jnp.roll(y, (1, 1), (1, 2))

    reference = randomise(Swin())
    t = weights(reference)
    params = {"norm": norm(t, "norm"), "qkv": dense(t, "qkv"), "table": t["table"], "proj": dense(t, "proj")}
    return to_function(reference, apply, {"x": normal(2, 4, 6, 6)}, params)
