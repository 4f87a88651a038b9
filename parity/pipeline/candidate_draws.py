"""Whether a PyTorch candidate draws random numbers: then a JAX reference keeps its own switched on."""

from parity.frameworks.opening import framework_of, open_model
from parity.frameworks.task import Task
from parity.pipeline import image_layouts
from parity.pipeline.request import Request


def candidate_draws(request: Request) -> bool:
    """Whether the candidate is a PyTorch module in training mode that draws, in any layout that it runs in.

    Args:
        request: what the user asked for.
    """
    candidate, weights = request.candidate, request.weights
    params = weights.params if weights.params is not None else weights.template
    if not getattr(candidate, "training", False) or framework_of(candidate, params) != "PyTorch":
        return False
    given = request.inputs[0]
    inputs = {name: given[name] for name in request.input_names}
    for layout in image_layouts.candidates(
        inputs, request.layout, image_layouts.ways_between("JAX", "PyTorch")
    ):
        task = Task(request.input_names, layout=layout, device=request.settings.device)
        try:
            model = open_model(candidate, params, task.laid_out(inputs), role="candidate")
            program = model.program(task, trainable=())
            return bool(program.census(model.weights, given).random) and any(
                draw.shared for draw in program.draws(model.weights, given)
            )
        except Exception:  # what it raises is said when it is opened to be compared
            continue
    return False
