"""Hold graphs against what the tflite target takes, in the onnx toolchain; print what was found as JSON.

Arguments: a folder, and the operators of target.yaml.
"""

import json
import sys

import numpy as np
import onnx
from lint import lines, lint
from onnx import TensorProto, helper, numpy_helper
from operators import read_operators

DOCUMENT = json.loads(sys.argv[2])
OPERATORS = read_operators(DOCUMENT, "TensorFlow Lite")
found = {}


def seen(operator, shape=(1, 3, 8, 8), weights=(), **attributes):
    """Lint a graph of one node."""
    names = ["x", *dict(weights)]
    node = helper.make_node(operator, names, ["y"], name=operator.lower(), **attributes)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    result = helper.make_value_info("y", helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    tensors = [numpy_helper.from_array(array, name) for name, array in dict(weights).items()]
    graph = helper.make_graph([node], "toy", [value], [result], tensors)
    findings = list(lint(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)]), OPERATORS))
    return {"findings": [finding.document() for finding in findings], "lines": list(lines(findings))}


for name in {name for rule in DOCUMENT["rules"] if "when" not in rule for name in rule["operators"]}:
    found[name] = seen(name)
for name in ("Relu", "Conv", "Sigmoid", "Softplus", "HardSigmoid", "TopK", "GatherND", "NotThere"):
    found[name] = seen(name)
window = {"kernel_shape": [2, 2]}
found["gaps"] = seen("MaxPool", dilations=[2, 2], **window)
found["no gaps"] = seen("MaxPool", **window)
found["volume"] = seen("MaxPool", (1, 1, 4, 4, 4), kernel_shape=[2, 2, 2])
found["remainder"] = seen("Mod", weights={"h": np.float32(0.5)}, fmod=1)
found["floor"] = seen("Mod", weights={"h": np.float32(0.5)})
scales = {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)}
found["cubic"] = seen("Resize", weights=scales, mode="cubic")
found["linear"] = seen("Resize", weights=scales, mode="linear")
standard = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain}
found["unknown"] = sorted(set(DOCUMENT["takes"]) - standard)
found["standard"] = sorted(standard)
print(json.dumps(found))
