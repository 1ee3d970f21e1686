"""The architectures: parameters, checkpoints, export. All torch work happens in the toolchain's environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Toolchain = Callable[..., Any]

START = """
import json, sys
sys.path.insert(0, "tests/models")
import numpy as np
from zoo import *
"""


# From the model tables of deepcam-cn/yolov5-face and torchvision; for CIFAR-10 0.27 and 0.85 million, counted by layer.
MILLIONS = {"yolov5n_05_face": 0.447, "yolov5n_face": 1.726, "yolov5s_face": 7.075, "yolov5m_face": 21.063,
            "yolov5l_face": 46.627}
RESNETS = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160,
           "resnet152": 60_192_808, "resnet20_cifar10": 269_722, "resnet56_cifar10": 853_018}


def test_networks_have_the_published_numbers_of_parameters(toolchain: Toolchain) -> None:
    asked = {"yolov5_face": list(MILLIONS), "resnet": list(RESNETS)}
    counts = toolchain(START + """
print(json.dumps({module: {factory: sum(p.numel() for p in build(module, factory).parameters()) for factory in names}
                  for module, names in json.loads(sys.argv[1]).items()}))
""", json.dumps(asked))
    assert counts["resnet"] == RESNETS
    assert {name: round(count / 1e6, 3) for name, count in counts["yolov5_face"].items()} == MILLIONS
    assert counts["yolov5_face"]["yolov5n_05_face"] == 447_456


def test_checkpoints_fit_without_missing_or_unexpected_names(toolchain: Toolchain, data: Path) -> None:
    fitting = toolchain(START + """
names = (("yolov5_face", "yolov5n_05_face", "yolov5n-0.5-face.state_dict.pt"),
         ("slim_face_landmark", "slim_face_landmark", "slim-face-landmark.pth"),
         ("ultraface", "ultraface_slim", "ultraface-slim-320.pth"),
         ("resnet", "resnet20_cifar10", "resnet20-cifar10.th"),
         ("resnet", "resnet56_cifar10", "resnet56-cifar10.th"))
print(json.dumps([load(module, factory, f"{sys.argv[1]}/{file}") is not None for module, factory, file in names]))
""", str(data / "weights"))
    assert fitting == [True] * 5


def test_raw_heads_of_yolov5_face_equal_the_published_onnx(toolchain: Toolchain, data: Path) -> None:
    error = toolchain(START + """
model = load("yolov5_face", "yolov5n_05_face", sys.argv[1] + "/yolov5n-0.5-face.state_dict.pt")
tensor = random(1, 3, 640, 640)
with torch.no_grad():
    heads = [head.numpy() for head in model.heads(torch.from_numpy(tensor))]
rows = [head.reshape(1, 3, 16, *head.shape[2:]).transpose(0, 1, 3, 4, 2) for head in heads]
print(json.dumps(worst(rows, runtime(sys.argv[1] + "/yolov5n-0.5-face.upstream-heads.onnx", tensor))))
""", str(data / "weights"))
    assert error < 1e-4


def test_yolov5_face_decodes_every_cell_by_the_published_formulae(toolchain: Toolchain) -> None:
    """The rows are computed here one number at a time, at a size with unequal sides."""
    error = toolchain(START + """
from math import exp
sizes = [[(4, 5), (8, 10), (13, 16)], [(23, 29), (43, 55), (73, 105)], [(146, 217), (231, 300), (335, 433)]]
heads = [random(1, 48, 64 // stride, 96 // stride, seed=stride) * 8 - 4 for stride in (8, 16, 32)]
sigmoid = lambda value: 1 / (1 + exp(-value))
rows = []
for head, stride, anchors in zip(heads, (8, 16, 32), sizes):
    head = head[0].tolist()
    for a, (wide, high) in enumerate(anchors):
        for y in range(64 // stride):
            for x in range(96 // stride):
                raw = [head[a * 16 + column][y][x] for column in range(16)]
                box = [(2 * sigmoid(raw[0]) - 0.5 + x) * stride, (2 * sigmoid(raw[1]) - 0.5 + y) * stride,
                       (2 * sigmoid(raw[2])) ** 2 * wide, (2 * sigmoid(raw[3])) ** 2 * high]
                marks = [raw[5 + i] * (high if i % 2 else wide) + (y if i % 2 else x) * stride for i in range(10)]
                rows.append([*box, sigmoid(raw[4]), *marks, sigmoid(raw[15])])
decoded = build("yolov5_face", "yolov5n_05_face").model[-1].decode([torch.from_numpy(head) for head in heads])
print(json.dumps(worst([decoded.numpy()], [np.array([rows])])))
""")
    assert error < 1e-3


def test_a_model_run_at_one_size_is_right_when_exported_at_another(toolchain: Toolchain, tmp_path: Path) -> None:
    errors = toolchain(START + """
errors = {}
for module, factory in (("yolov5_face", "yolov5n_05_face"), ("ultraface", "ultraface_slim")):
    model = build(module, factory)
    eager(model, random(1, 3, 640, 640))
    export(model, random(1, 3, 320, 320), sys.argv[1])
    tensor = random(1, 3, 320, 320, seed=1)
    errors[module] = worst(runtime(sys.argv[1], tensor), eager(build(module, factory), tensor))
print(json.dumps(errors))
""", str(tmp_path / "model.onnx"))
    assert errors["yolov5_face"] < 1e-3
    assert errors["ultraface"] < 1e-5


def test_files_with_an_open_batch_have_opset_12_and_give_equal_rows_alone_and_in_four(
    toolchain: Toolchain, tmp_path: Path
) -> None:
    facts = toolchain(START + """
networks = {"yolov5_face": ("yolov5n_05_face", 320, 320), "ultraface": ("ultraface_slim", 240, 320),
            "slim_face_landmark": ("slim_face_landmark", 320, 320), "resnet": ("resnet20_cifar10", 32, 32),
            "digits": ("digits", 8, 8)}
facts = {}
for module, (factory, height, width) in networks.items():
    channels = 1 if module == "digits" else 3
    model, four = build(module, factory), random(4, channels, height, width)
    graph = export(model, four[:1], sys.argv[1], dynamic=[0])
    together = runtime(sys.argv[1], four)
    alone = [np.concatenate(rows) for rows in zip(*(runtime(sys.argv[1], four[i:i + 1]) for i in range(4)))]
    facts[module] = {"opset": [o.version for o in graph.opset_import if o.domain == ""],
                     "apart": worst(together, alone), "error": worst(together, eager(model, four))}
print(json.dumps(facts))
""", str(tmp_path / "model.onnx"))
    for module, fact in facts.items():
        assert fact["opset"] == [12], module
        assert fact["apart"] < 1e-4, module
        assert fact["error"] < 1e-3, module


def test_files_with_open_height_and_width_are_right_at_other_sizes(toolchain: Toolchain, tmp_path: Path) -> None:
    errors = toolchain(START + """
errors = {}
for module, factory in (("yolov5_face", "yolov5n_05_face"), ("ultraface", "ultraface_slim")):
    model = build(module, factory)
    export(model, random(1, 3, 128, 128), sys.argv[1], dynamic=[0, 2, 3])
    tensor = random(2, 3, 192, 320)
    errors[module] = worst(runtime(sys.argv[1], tensor), eager(model, tensor))
print(json.dumps(errors))
""", str(tmp_path / "model.onnx"))
    assert errors["yolov5_face"] < 1e-3
    assert errors["ultraface"] < 1e-5


def test_no_tensor_of_yolov5_face_has_more_than_four_dimensions(toolchain: Toolchain, tmp_path: Path) -> None:
    ranks = toolchain(START + """
graph = export(build("yolov5_face", "yolov5n_05_face"), random(1, 3, 128, 128), sys.argv[1], dynamic=[0])
values = onnx.shape_inference.infer_shapes(graph, strict_mode=True).graph.value_info
print(json.dumps([len(value.type.tensor_type.shape.dim) for value in values]))
""", str(tmp_path / "model.onnx"))
    assert len(ranks) > 300
    assert max(ranks) == 4


def test_ultraface_equals_the_published_onnx(toolchain: Toolchain, data: Path) -> None:
    error = toolchain(START + """
model = load("ultraface", "ultraface_slim", sys.argv[1] + "/ultraface-slim-320.pth")
tensor = random(1, 3, 240, 320) * 2 - 1
print(json.dumps(worst(eager(model, tensor), runtime(sys.argv[1] + "/ultraface-slim-320.onnx", tensor))))
""", str(data / "weights"))
    assert error < 1e-5


def test_a_resnet_takes_a_number_of_classes_and_a_softmax(toolchain: Toolchain) -> None:
    logits, probabilities = toolchain(START + """
tensor = random(2, 3, 64, 64)
settings = ({"classes": 5}, {"classes": 5, "softmax": True})
print(json.dumps([eager(build("resnet", "resnet18", s), tensor)[0].tolist() for s in settings]))
""")
    powers = np.exp(logits)
    assert powers.shape == (2, 5)
    np.testing.assert_allclose(probabilities, powers / powers.sum(1, keepdims=True), rtol=1e-5)
