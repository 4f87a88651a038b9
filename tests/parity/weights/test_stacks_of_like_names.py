"""Plans that went wrong on right ports: stacks of numbered names, convolutions of one pixel, attention."""

from parity.weights import Plan, Signature, Use, find_plan

E, L = 16, 2


def partners(plan: Plan) -> dict[str, str]:
    return {t.tensor_name: f"{t.leaf_path}[{t.put[0]}]" if t.put else t.leaf_path for t in plan.transfers}


def test_stacks_whose_names_differ_in_numbers_hold_a_layer_in_each_row() -> None:
    tensors: dict[str, Signature] = {}
    for i in range(L):
        at = 10 * i
        tensors[f"layers.{i}.before.weight"] = Signature((E,), "RMSNorm", Use(at, "mul"))
        tensors[f"layers.{i}.up.weight"] = Signature((24, E), "Linear", Use(at + 1, "matmul", (1,)))
        tensors[f"layers.{i}.after.weight"] = Signature((E,), "RMSNorm", Use(at + 2, "mul"))
        tensors[f"layers.{i}.down.weight"] = Signature((E, 24), "Linear", Use(at + 3, "matmul", (1,)))
    leaves = {
        "blocks/down": Signature((L, 24, E), "", Use(8, "matmul", (1,))),
        "blocks/ln1": Signature((L, E), "", Use(5, "mul")),
        "blocks/ln2": Signature((L, E), "", Use(7, "mul")),
        "blocks/up": Signature((L, E, 24), "", Use(6, "matmul", (1,))),
    }
    found = partners(find_plan(tensors, leaves, try_plan=lambda plan: 0.5))
    for i in range(L):
        assert found[f"layers.{i}.before.weight"] == f"blocks/ln1[{i}]", found
        assert found[f"layers.{i}.after.weight"] == f"blocks/ln2[{i}]", found


def test_a_convolution_of_one_pixel_goes_to_a_plain_kernel_and_heads_to_attention() -> None:
    tensors, leaves = {}, {}
    for at, name in enumerate(("query", "key", "value", "out")):
        tensors[f"attn.{name}.weight"] = Signature((E, E), "Linear", Use(at, "matmul", (1,)))
        heads, over = ((2, E // 2, E), (0, 1)) if name == "out" else ((E, 2, E // 2), (0,))
        leaves[f"block/{name}/kernel"] = Signature(heads, "", Use(at, "matmul", over))
    for at, name in enumerate(("first", "second"), 4):
        tensors[f"ff.{name}.weight"] = Signature((E, E, 1), "Conv1d", Use(at, "conv", (1, 2)))
        leaves[f"block/{name}/kernel"] = Signature((E, E), "", Use(at, "matmul", (0,)))
    found = partners(find_plan(tensors, leaves, try_plan=lambda plan: 0.5))
    assert all(leaf.split("/")[1] == tensor.split(".")[1] for tensor, leaf in found.items()), found


def test_a_vector_that_is_multiplied_and_summed_goes_where_it_is_contracted() -> None:
    tensors = {
        "att": Signature((1, 2, 8), "", Use(4, "mul")),
        "lin_l.weight": Signature((E, 6), "Linear", Use(0, "matmul", (1,))),
        "lin_l.bias": Signature((E,), "Linear", Use(1, "add")),
    }
    leaves = {
        "score": Signature((2, 8), "", Use(4, "matmul", (1,))),
        "source": Signature((6, 2, 8), "", Use(0, "matmul", (0,))),
        "source_bias": Signature((2, 8), "", Use(1, "add")),
    }
    found = partners(find_plan(tensors, leaves, try_plan=lambda plan: 0.5))
    assert found["att"] == "score"
    assert found["lin_l.bias"] == "source_bias"
