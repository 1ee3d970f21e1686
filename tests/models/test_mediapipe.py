"""MediaPipe's files in TensorFlow Lite's interpreter, decoded here with plain loops: what their recipes expect."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

MODELS = Path(__file__).parents[2] / "models"
REGION = (130, 22, 322, 214)

# Points of the face mesh (https://github.com/google-ai-edge/mediapipe, face_model_with_iris): the outer and the inner
# corner of each eye, the tip of the nose, the corners of the mouth; in the order of golden.json's five landmarks.
MESH = [(33, 133), (362, 263), (1,), (61,), (291,)]

_INTERPRET = """
import json, sys
import numpy as np, tensorflow as tf
interpreter = tf.lite.Interpreter(sys.argv[1], experimental_op_resolver_type=
                                  tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
interpreter.allocate_tensors()
[given], results = interpreter.get_input_details(), []
for tensor in np.load(sys.argv[2]):
    interpreter.set_tensor(given["index"], tensor[None])
    interpreter.invoke()
    results.append({entry["name"]: interpreter.get_tensor(entry["index"]).tolist()
                    for entry in interpreter.get_output_details()})
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def interpret(interpreter_of: Callable[[str], Path], data: Path,
              tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Return a function (file, pictures from 0 to 255) -> outputs of each, by name."""
    folder = tmp_path_factory.mktemp("interpret")

    def run(file: str, tensors: np.ndarray) -> list[dict[str, np.ndarray]]:
        np.save(folder / "input.npy", tensors.astype(np.float32))
        words = [interpreter_of("tflite2onnx"), "-c", _INTERPRET, data / "weights" / file, folder / "input.npy"]
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        return [{name: np.array(values) for name, values in found.items()}
                for found in json.loads(done.stdout.splitlines()[-1])]

    return run


def expected(model: str) -> dict[str, Any]:
    return dict(yaml.safe_load((MODELS / model / "model.yaml").read_text())["expect"])


def boxed(picture: np.ndarray, side: int) -> tuple[np.ndarray, float, tuple[int, int]]:
    """Put a picture into a black square; return it, the scale, and the corner."""
    high, wide = picture.shape[:2]
    scale = side / max(high, wide)
    small = cv2.resize(picture, (round(wide * scale), round(high * scale)))
    left, top = (side - small.shape[1]) // 2, (side - small.shape[0]) // 2
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[top:top + small.shape[0], left:left + small.shape[1]] = small
    return canvas, scale, (left, top)


def anchors() -> list[tuple[float, float]]:
    """List the centres of BlazeFace's 896 anchors: two for each cell of 16x16, six for each of 8x8."""
    found = []
    for cells, count in ((16, 2), (8, 6)):
        for row in range(cells):
            for column in range(cells):
                found += [((column + 0.5) * 128 / cells, (row + 0.5) * 128 / cells)] * count
    return found


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_the_face_detector_finds_what_its_recipe_expects(interpret: Callable[..., Any], data: Path) -> None:
    wanted = expected("mediapipe-face-detection")
    fitted = [boxed(cv2.imread(str(data / "images" / name))[..., ::-1], 128) for name in wanted]
    results = interpret("mediapipe-face-detection-short-range.tflite",
                        np.stack([canvas / 127.5 - 1 for canvas, _, _ in fitted]))
    for (name, faces), (_, scale, corner), found in zip(wanted.items(), fitted, results, strict=True):
        scores = [sigmoid(value) for value in found["classificators"].ravel()]
        best = int(np.argmax(scores))
        if not faces:
            assert scores[best] < 0.5, name
            continue
        assert scores[best] == pytest.approx(faces[0]["score"], abs=0.005)
        row, anchor = found["regressors"][0, best], anchors()[best]
        x, y, wide, tall = row[0] + anchor[0], row[1] + anchor[1], row[2], row[3]
        points = [(x - wide / 2, y - tall / 2), (x + wide / 2, y + tall / 2)]
        points += [(row[4 + 2 * index] + anchor[0], row[5 + 2 * index] + anchor[1]) for index in range(6)]
        mapped = (np.array(points) - corner) / scale
        assert mapped[:2].ravel() == pytest.approx(faces[0]["box"], abs=0.5)
        assert mapped[2:] == pytest.approx(np.array(faces[0]["landmarks"]), abs=0.5)


def test_the_face_mesh_lies_where_its_recipe_and_another_detector_say(
    interpret: Callable[..., Any], data: Path, golden: dict[str, Any]
) -> None:
    [face] = expected("mediapipe-face-landmark")["astronaut.png"]
    recipe = yaml.safe_load((MODELS / "mediapipe-face-landmark" / "model.yaml").read_text())
    assert recipe["samples"]["regions"] == {"astronaut.png": list(REGION)}
    left, top, right, bottom = REGION
    assert right - left == bottom - top == 192, "so that nothing is resized here"
    picture = cv2.imread(str(data / "images" / "astronaut.png"))[top:bottom, left:right, ::-1]
    [found] = interpret("mediapipe-face-landmark-2020.tflite", picture[None] / 255)
    points = found["conv2d_20"].reshape(468, 3)[:, :2] + (left, top)
    assert sigmoid(found["conv2d_30"].item()) == pytest.approx(face["score"], abs=0.005)
    assert [*points.min(0), *points.max(0)] == pytest.approx(face["box"], abs=0.5)
    others = golden["yolov5n-0.5-face"]["images"]["astronaut.png"][0]["lm"]
    for indices, place in zip(MESH, others, strict=True):
        assert points[list(indices)].mean(0) == pytest.approx(np.array(place), abs=6), "another model's landmarks"


def test_the_face_mesh_finds_no_face_in_a_cat_and_a_cup(interpret: Callable[..., Any], data: Path) -> None:
    wanted = expected("mediapipe-face-landmark")
    empty = [name for name, faces in wanted.items() if not faces]
    assert empty == ["chelsea.png", "coffee.png"]
    canvases = [boxed(cv2.imread(str(data / "images" / name))[..., ::-1], 192)[0] / 255 for name in empty]
    for found in interpret("mediapipe-face-landmark-2020.tflite", np.stack(canvases)):
        assert sigmoid(found["conv2d_30"].item()) < 0.5
