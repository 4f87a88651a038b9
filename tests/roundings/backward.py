"""Backward passes: the forward passes round alike, the gradients do not."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from jax import lax

from tests.roundings.declare import F32, Cast, Family, Params, Port, Tensors, back, wide

IDS = np.array([[0, 1, 1, 2, 0, 3], [4, 1, 0, 0, 2, 2], [1, 1, 1, 3, 0, 5]])

# A norm in float32 inside


def t_norm(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    h = (x @ p["k"]).float()
    h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)
    return torch.tanh(h.to(x.dtype) * p["w"])


def forward_norm(h: jax.Array) -> jax.Array:
    return back(wide(h) * lax.rsqrt(jnp.mean(wide(h) ** 2, -1, keepdims=True) + 1e-6))


def by_hand(
    forward: Callable[[jax.Array], jax.Array], derivative: Callable[..., tuple[jax.Array]]
) -> Callable[[jax.Array], jax.Array]:
    """A function of one value whose derivative is written out, of the value and the cotangent."""
    function = jax.custom_vjp(forward)
    function.defvjp(lambda h: (forward(h), h), derivative)
    return function


def norm_with(enter: Cast) -> Callable[[jax.Array], jax.Array]:
    """The norm, whose derivative is written by hand."""

    def derivative(h: jax.Array, g: jax.Array) -> tuple[jax.Array]:
        h, g = enter(h), enter(g)
        r = lax.rsqrt(jnp.mean(h * h, -1, keepdims=True) + 1e-6)
        return (back(g * r - h * r**3 * jnp.mean(g * h, -1, keepdims=True)),)

    return by_hand(forward_norm, derivative)


def normed(norm: Cast) -> Port:
    return lambda p, x: jnp.tanh(norm(x @ p["k"]) * p["w"])


# A softmax in float32 inside


def t_softmax(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    return F.softmax((x @ p["k"]).float(), -1).to(x.dtype) @ p["v"]


def softmax_with(enter: Cast) -> Callable[[jax.Array], jax.Array]:
    @jax.custom_vjp
    def softmax(h: jax.Array) -> jax.Array:
        return back(jax.nn.softmax(wide(h)))

    def forward(h: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = jax.nn.softmax(wide(h))
        return back(y), y

    def derivative(y: jax.Array, g: jax.Array) -> tuple[jax.Array]:
        y, g = enter(y), enter(g)
        return (back(y * g - y * jnp.sum(y * g, -1, keepdims=True)),)

    softmax.defvjp(forward, derivative)
    return softmax


# An embedding that is looked up in float32


def t_embedding(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    rows = F.embedding(torch.from_numpy(IDS), p["e"].float())
    return torch.tanh(rows + x.float()).to(x.dtype) @ p["k"]


def embedded(rows: Callable[[jax.Array], jax.Array]) -> Port:
    return lambda p, x: back(jnp.tanh(rows(p["e"]) + wide(x))) @ p["k"]


def one_hot(table: jax.Array) -> jax.Array:
    return jax.nn.one_hot(IDS, table.shape[0], dtype=F32) @ wide(table)


def t_plain_embedding(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(F.embedding(torch.from_numpy(IDS), p["e"]) + x) @ p["k"]


def plainly_embedded(rows: Callable[[jax.Array], jax.Array]) -> Port:
    return lambda p, x: jnp.tanh(rows(p["e"]) + x) @ p["k"]


# A weight that is used in every step


def t_steps(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    state = torch.zeros_like(x[:, 0])
    for step in range(x.shape[1]):
        state = torch.tanh(x[:, step] + state @ p["h"])
    return state


def steps(weight: Callable[[jax.Array], jax.Array], use: Cast = lambda w: w) -> Port:
    def run(p: Params, x: jax.Array) -> jax.Array:
        w = weight(p["h"])
        state = jnp.zeros_like(x[:, 0])
        for step in range(x.shape[1]):
            state = jnp.tanh(x[:, step] + state @ use(w))
        return state

    return run


def scanned(weight: Callable[[jax.Array], jax.Array], use: Cast = lambda w: w) -> Port:
    def run(p: Params, x: jax.Array) -> jax.Array:
        w = weight(p["h"])

        def step(state: jax.Array, row: jax.Array) -> tuple[jax.Array, None]:
            return jnp.tanh(row + state @ use(w)), None

        return lax.scan(step, jnp.zeros_like(x[:, 0]), jnp.swapaxes(x, 0, 1))[0]

    return run


# Products whose gradients are kept wide


def t_products(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(torch.tanh(x @ p["a"]) @ p["b"]) @ p["c"]


def products(product: Callable[[jax.Array, jax.Array], jax.Array], act: Cast = jnp.tanh) -> Port:
    return lambda p, x: product(act(product(act(product(x, p["a"])), p["b"])), p["c"])


@jax.custom_vjp
def own_product(a: jax.Array, b: jax.Array) -> jax.Array:
    return a @ b


def product_derivative(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    a, b = saved
    da = jnp.matmul(g, b.T, preferred_element_type=F32)
    db = jnp.matmul(a.T, g, preferred_element_type=F32)
    return da.astype(a.dtype), db.astype(b.dtype)


own_product.defvjp(lambda a, b: (a @ b, (a, b)), product_derivative)


# A loss in float32


def t_loss(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    logits = (torch.tanh(x @ p["a"]) @ p["b"]).float()
    return F.cross_entropy(logits, torch.tensor([0, 2, 1, 3]), reduction="none")


def loss(score: Callable[[jax.Array], jax.Array]) -> Port:
    return lambda p, x: score(jnp.tanh(x @ p["a"]) @ p["b"])


def cross_entropy(logits: jax.Array) -> jax.Array:
    return -jax.nn.log_softmax(wide(logits))[jnp.arange(4), np.array([0, 2, 1, 3])]


def by_logsumexp(logits: jax.Array) -> jax.Array:
    h = wide(logits)
    picked = jnp.take_along_axis(h, np.array([[0], [2], [1], [3]]), 1)[:, 0]
    return jax.nn.logsumexp(h, -1) - picked


def by_one_hot(logits: jax.Array) -> jax.Array:
    return -jnp.sum(jax.nn.one_hot(np.array([0, 2, 1, 3]), 5) * jax.nn.log_softmax(wide(logits)), -1)


def narrow_loss(logits: jax.Array) -> jax.Array:
    return wide(-jax.nn.log_softmax(logits)[jnp.arange(4), np.array([0, 2, 1, 3])])


def loss_with(enter: Cast) -> Callable[[jax.Array], jax.Array]:
    def derivative(logits: jax.Array, g: jax.Array) -> tuple[jax.Array]:
        h, g = enter(logits), enter(g)
        hot = jax.nn.one_hot(np.array([0, 2, 1, 3]), 5, dtype=h.dtype)
        return (back((jax.nn.softmax(h) - hot) * g[:, None]),)

    return by_hand(cross_entropy, derivative)


def same(x: jax.Array) -> jax.Array:
    return x


FAMILIES = {
    "gradient of a norm": Family(
        t_norm,
        {"k": (12, 16), "w": (16,)},
        (4, 12),
        {
            "automatic": normed(forward_norm),
            "by hand": normed(norm_with(wide)),
            "checkpointed": jax.checkpoint(normed(forward_norm)),
            "jitted": jax.jit(normed(forward_norm)),
        },
        {"narrow": normed(norm_with(back))},
    ),
    "gradient of a softmax": Family(
        t_softmax,
        {"k": (12, 16), "v": (16, 5)},
        (4, 12),
        {
            "automatic": lambda p, x: back(jax.nn.softmax(wide(x @ p["k"]))) @ p["v"],
            "by hand": lambda p, x: softmax_with(wide)(x @ p["k"]) @ p["v"],
        },
        {"narrow": lambda p, x: softmax_with(back)(x @ p["k"]) @ p["v"]},
    ),
    "gradient of an embedding": Family(
        t_embedding,
        {"e": (6, 12), "k": (12, 5)},
        (3, 6, 12),
        {
            "indexed": embedded(lambda e: wide(e)[IDS]),
            "take": embedded(lambda e: jnp.take(wide(e), IDS, axis=0)),
            "one hot": embedded(one_hot),
        },
        {"narrow": embedded(lambda e: wide(e[IDS]))},
    ),
    "gradient of a plain embedding": Family(
        t_plain_embedding,
        {"e": (6, 12), "k": (12, 5)},
        (3, 6, 12),
        {
            "indexed": plainly_embedded(lambda e: e[IDS]),
            "take": plainly_embedded(lambda e: jnp.take(e, IDS, axis=0)),
            "float32": plainly_embedded(lambda e: back(wide(e)[IDS])),
            "one hot": plainly_embedded(
                lambda e: jnp.einsum("bte,ed->btd", jax.nn.one_hot(IDS, 6, dtype=e.dtype), e)
            ),
        },
        {},
    ),
    "gradient over steps": Family(
        t_steps,
        {"h": (6, 6)},
        (3, 8, 6),
        {
            "unrolled": steps(same),
            "scan": scanned(same),
            "checkpointed": jax.checkpoint(scanned(same)),
            "mapped": lambda p, x: jax.vmap(lambda row: scanned(same)(p, row[None])[0])(x),
        },
        {"summed in float32": steps(wide, back), "carried in float32": scanned(wide, back)},
    ),
    "gradients of products": Family(
        t_products,
        {"a": (9, 8), "b": (8, 7), "c": (7, 4)},
        (5, 9),
        {
            "plain": products(jnp.matmul),
            "einsum": products(lambda a, b: jnp.einsum("bi,ij->bj", a, b)),
            "own derivative": products(own_product),
            "accumulating": products(lambda a, b: back(jnp.matmul(a, b, preferred_element_type=F32))),
        },
        {},
    ),
    "gradient of a loss": Family(
        t_loss,
        {"a": (9, 8), "b": (8, 5)},
        (4, 9),
        {
            "log softmax": loss(cross_entropy),
            "logsumexp": loss(by_logsumexp),
            "one hot": loss(by_one_hot),
            "own derivative": loss(loss_with(wide)),
        },
        {"narrow": loss(narrow_loss), "narrow derivative": loss(loss_with(back))},
    ),
}
