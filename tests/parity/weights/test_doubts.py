"""The lines of a plan that rest on little: by running, against the evidence, by what other matrices do."""

from parity.weights import Plan, Signature, Use, find_plan
from parity.weights.doubt import AGAINST_EVIDENCE, BY_CONVENTION, BY_RUNNING

E, F = 8, 32


def doubted(plan: Plan, reason: str) -> set[str]:
    """The tensors whose line has this reason."""
    return {tensor.split(" ")[0] for tensor, _, how in plan.doubts() if reason in how}


def test_a_plan_of_names_and_shapes_has_no_doubt() -> None:
    tensors = {"fc.weight": Signature((3, 2), "Linear"), "fc.bias": Signature((3,), "Linear")}
    assert find_plan(tensors, {"fc/kernel": (2, 3), "fc/bias": (3,)}).doubts() == ()


def test_what_running_settled_is_doubtful_and_its_neighbours_are_not() -> None:
    tensors = {f"{n}.weight": Signature((E, F), "Linear") for n in "pq"}
    tensors["out.weight"] = Signature((3, E), "Linear")
    leaves = {"x/kernel": (F, E), "y/kernel": (F, E), "out/kernel": (E, 3)}
    plan = find_plan(tensors, leaves, try_plan=lambda plan: 1.0)
    assert doubted(plan, BY_RUNNING) == {"p.weight", "q.weight"}
    assert [row[2] for row in plan.doubts()] == [
        f"permute (1, 0): linear: (out, in) to (in, out), {BY_RUNNING}",
    ] * 2


def test_what_running_turned_against_the_order_of_use_is_doubtful() -> None:
    tensors = {
        f"{n}.weight": Signature((E, E), "Linear", Use(i, "matmul", (1,)))
        for i, n in enumerate(("up", "gate"))
    }
    leaves = {
        p: Signature((E, E), use=Use(i, "matmul", (0,))) for i, p in enumerate(("x/kernel", "y/kernel"))
    }
    wanted = {"up.weight": "y/kernel", "gate.weight": "x/kernel"}
    assert find_plan(tensors, leaves).doubts() == ()
    plan = find_plan(tensors, leaves, try_plan=lambda plan: float(plan.names() == wanted))
    assert plan.names() == wanted
    assert doubted(plan, AGAINST_EVIDENCE) == set(wanted)


def test_a_square_matrix_that_lies_as_the_others_do_is_doubtful() -> None:
    tensors = {"a.weight": Signature((E, F), "Linear"), "b.weight": Signature((E, E), "Linear")}
    plan = find_plan(tensors, {"a/weight": (F, E), "b/weight": (E, E)})
    assert doubted(plan, BY_CONVENTION) == {"b.weight"}
