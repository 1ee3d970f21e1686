"""Checkpoints of every kind, read and loaded by the onnx toolchain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attacks import ATTACKS, legacy, zipped
from jobfolder import data_folder


@pytest.fixture(scope="module")
def canaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("canaries")


@pytest.fixture(scope="module")
def found(script: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, canaries: Path) -> Any:
    attacks = tmp_path_factory.mktemp("attacks")
    for name, attack in ATTACKS.items():
        (attacks / f"{name}.zip.pt").write_bytes(zipped(attack.code(canaries / "zip")))
        (attacks / f"{name}.legacy.pt").write_bytes(legacy(attack.code(canaries / "legacy")))
    return script("checkpoints", tmp_path_factory.mktemp("checkpoints"), attacks, *data_folder())


GOOD = {
    # name: nesting, prefix, reader, types converted
    "plain": ("", "", "torch, weights only", []),
    "legacy": ("", "", "torch, weights only", []),
    "module": ("state_dict", "module.", "torch, weights only", []),
    "compiled": ("model", "_orig_mod.module.", "torch, weights only", []),
    "attribute": ("", "model.", "torch, weights only", []),
    "deep": ("ema.state_dict", "", "torch, weights only", []),
    "pickled": ("model", "", "as data, nothing run", ["float16"]),
    "pickled, legacy": ("model", "", "as data, nothing run", ["float16"]),
    "averaged": ("ema", "", "as data, nothing run", []),
    "whole": ("", "", "as data, nothing run", []),
    "parallel": ("model", "module.", "as data, nothing run", []),
    "half": ("", "", "torch, weights only", ["float16"]),
    "counters": ("", "", "torch, weights only", []),
}


@pytest.mark.parametrize("name", GOOD)
def test_weights_are_found_and_loaded_in_single_precision(found: Any, name: str) -> None:
    got = found["good"][name]
    assert got["equal"] is True
    assert got["types"] == ["torch.float32", "torch.int64"]
    assert (got["nesting"], got["prefix"], got["reader"], got["converted"]) == GOOD[name]


def test_constants_that_the_model_names_may_be_absent_or_left_over(found: Any) -> None:
    got = found["good"]["constants"]
    assert got["equal"] is True and got["ignored"] == ["head.anchor_grid"]


BAD_FILES = {
    "empty": "is empty",
    "web page": "is a web page",
    "lfs": "is a pointer of git-lfs",
    "json": "is JSON",
    "safetensors": "is a safetensors file",
    "onnx": "looks like an ONNX file",
    "text": "begins with b'these are th'",
    "keras": "is an HDF5 file",
    "plain pickle": "is a pickle, but not one of torch",
    "other zip": "it has no data.pkl",
    "script": "is a TorchScript program",
    "nothing": "holds the keys epoch, args",
    "flipped": "damaged",
    "plain, truncated": "is truncated",
    "legacy, truncated": "damaged or truncated",
    "pickled, truncated": "is truncated",
    "pickled, legacy, truncated": "damaged or truncated",
    "plain, cut at the end": "is truncated",
    "legacy, cut at the end": "damaged or truncated",
    "pickled, cut at the end": "is truncated",
    "pickled, legacy, cut at the end": "damaged or truncated",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_holds_no_whole_checkpoint_is_told_apart(found: Any, name: str) -> None:
    refusal = found["bad files"][name]
    assert refusal["class"] == "CheckpointError"
    assert BAD_FILES[name] in refusal["message"]
    assert refusal["remedy"]


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("name", ATTACKS)
def test_a_malicious_checkpoint_is_refused_by_name_and_runs_nothing(
    found: Any, canaries: Path, name: str, form: str
) -> None:
    refusal = found["attacks"][f"{name}.{form}.pt"]
    assert refusal["class"] == "CheckpointError"
    assert ATTACKS[name].named in refusal["message"]
    assert not list(canaries.iterdir())


@pytest.mark.parametrize("name", ["wider", "renamed", "foreign", "spoilt", "integers", "endless"])
def test_nothing_is_loaded_from_weights_that_do_not_fit(found: Any, name: str) -> None:
    assert found["wrong"][name]["class"] == "CheckpointError"
    assert found["wrong"][name]["untouched"] is True


def test_both_shapes_are_shown(found: Any) -> None:
    lines = found["wrong"]["wider"]["message"].splitlines()
    assert "  2 of another shape:" in lines
    assert "    head.weight: checkpoint (3, 5), model (3, 4)" in lines
    assert "    body.0.weight: checkpoint (8, 3, 3, 3), model (4, 3, 3, 3)" in lines


def test_missing_and_unexpected_names_come_with_the_nearest(found: Any) -> None:
    lines = found["wrong"]["renamed"]["message"].splitlines()
    assert "  2 missing in the checkpoint:" in lines and "  2 unexpected in the checkpoint:" in lines
    assert "    head.weight (is it heads.weight?)" in lines
    assert "    heads.bias (is it head.bias?)" in lines


def test_of_many_names_ten_are_listed(found: Any) -> None:
    message = found["wrong"]["foreign"]["message"]
    assert "  30 unexpected in the checkpoint:" in message and "    ... and 20 more" in message
    assert message.count("layer") == 10


def test_weights_that_are_not_finite_are_named(found: Any) -> None:
    lines = found["wrong"]["spoilt"]["message"].splitlines()
    assert lines[1:] == ["  2 not finite (NaN or infinite):", "    body.1.running_var", "    head.bias"]


def test_whole_numbers_in_the_place_of_weights_are_refused(found: Any) -> None:
    assert "head.bias: checkpoint int64, model float32" in found["wrong"]["integers"]["message"]


def test_a_model_that_contains_itself_is_refused(found: Any) -> None:
    assert "contains itself" in found["loop"]["message"]


def test_the_pickled_yolov5_equals_its_state_dict_and_imports_nothing(found: Any, data: Path) -> None:
    assert found["yolov5"] == {
        "same names": True,
        "equal in half precision": True,
        "reader": "as data, nothing run",
        "nesting": "model",
        "foreign modules": [],
    }


def test_real_checkpoints_are_read_onto_the_cpu(found: Any, data: Path) -> None:
    # The number of weights of both CIFAR networks is published as 0.27 and 0.85 million.
    assert found["real"]["resnet20-cifar10.th"] == ["state_dict", ["cpu"], 269_722]
    assert found["real"]["resnet56-cifar10.th"] == ["state_dict", ["cpu"], 853_018]
    assert found["real"]["ultraface-slim-320.pth"][:2] == ["", ["cpu"]]
    assert found["real"]["slim-face-landmark.pth"][:2] == ["", ["cpu"]]
