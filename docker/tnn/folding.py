"""Everything folded that can be, with onnxsim: ``python folding.py IN.onnx OUT.onnx SHAPES``, in a process of its own.

TNN's converter no longer folds chains of shapes itself, and onnxsim may take the process down with it. The last line
that it prints is what it found, as JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence, Tuple

from jobkit import GraphError
from jobkit.program import run

# How often onnxsim compares the graphs before and after on random inputs.
CHECKS = 2

REMEDY = "see convert.log; make edit or another opset may give a graph that onnxsim takes"


@dataclass(frozen=True)
class Folded:
    """What folding found: nodes before and after, bytes of the weights in fp32, and the outputs' shapes."""

    before: int
    after: int
    weights: int
    outputs: Dict[str, Tuple[int, ...]]


def fold(source: Path, target: Path, shapes: Mapping[str, Sequence[int]]) -> Folded:
    """Write `source` with everything folded to `target`, with the inputs' shapes fixed.

    Raises GraphError where onnxsim fails, crashes, or changes what the graph computes.
    """
    words = [str(source), str(target), json.dumps({name: list(shape) for name, shape in shapes.items()})]
    ended = run([sys.executable, str(Path(__file__).resolve()), *words], target.parent)
    if ended.code or not target.is_file():
        raise GraphError(f"onnxsim {ended.how}: {ended.tail(1)}", REMEDY)
    found = json.loads(ended.lines[-1])
    outputs = {name: tuple(shape) for name, shape in found.pop("outputs").items()}
    return Folded(outputs=outputs, **found)


def main(source: str, target: str, shapes: str) -> None:
    """Fold, in this process."""
    import onnx
    import onnxsim

    model = onnx.load(source)
    simplified, same = onnxsim.simplify(model, check_n=CHECKS, overwrite_input_shapes=json.loads(shapes))
    if not same:
        sys.exit("the simplified graph computes something else")
    onnx.save(simplified, target)
    print(json.dumps(describe(model, simplified)))


def describe(model: Any, simplified: Any) -> Dict[str, Any]:
    """Count nodes and weights, and give the outputs' shapes, -1 for an axis that is still free."""
    import onnx

    weights = [t for t in simplified.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    sizes = [onnx.numpy_helper.to_array(tensor).nbytes for tensor in weights]
    dims = {value.name: value.type.tensor_type.shape.dim for value in simplified.graph.output}
    outputs = {name: [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims[name]] for name in dims}
    before, after = len(model.graph.node), len(simplified.graph.node)
    return {"before": before, "after": after, "weights": sum(sizes), "outputs": outputs}


if __name__ == "__main__":
    main(*sys.argv[1:])
