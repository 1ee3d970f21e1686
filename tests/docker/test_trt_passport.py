"""Passports: an engine for another GPU, of another version, or only half there is refused before it is loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jobkit import EngineError
from trttoys import StandInCuda, passport, runtime, stand_in, tensor, write_engine

HERE = {"tensorrt": "8.2.4.2", "gpu": "NVIDIA GeForce RTX 4090", "capability": "8.9"}
COMMAND = "make trt MODEL=toy"


def engine(folder: Path, **more: Any) -> Path:
    made = {"version": HERE["tensorrt"], "gpu": HERE["gpu"], "capability": HERE["capability"], **more}
    return write_engine(folder, tensor("x", [2]), tensor("y", [2], of="x"), **made)


def inspected(file: Path, **here: str) -> str:
    """Return what is said of an engine; empty where it may be loaded."""
    try:
        issued = passport.read_passport(file.with_name("engine.json"))
        passport.inspect(issued, file, command=COMMAND, **{**HERE, **here})
    except EngineError as error:
        assert error.remedy == f"build the right one here: {COMMAND}"
        return error.message
    return ""


def test_an_engine_for_this_machine_is_let_in(tmp_path: Path) -> None:
    assert inspected(engine(tmp_path)) == ""


def test_an_engine_for_another_architecture_says_both(tmp_path: Path) -> None:
    file = engine(tmp_path, gpu="NVIDIA GeForce RTX 3060", capability="8.6")
    assert inspected(file) == (
        "model.engine is for another architecture, sm_86; it was made for TensorRT 8.2.4.2 on NVIDIA GeForce RTX 3060 "
        "(sm_86), and here is TensorRT 8.2.4.2 on NVIDIA GeForce RTX 4090 (sm_89)")


def test_another_gpu_of_the_same_architecture_is_another(tmp_path: Path) -> None:
    said = inspected(engine(tmp_path, gpu="NVIDIA L4"))
    assert "is for another GPU, NVIDIA L4" in said


@pytest.mark.parametrize("version", ["8.2.5.1", "8.6.1", "10.16.1.11"])
def test_an_engine_of_another_version_is_refused_by_name(tmp_path: Path, version: str) -> None:
    assert f"is of another version of TensorRT, {version}" in inspected(engine(tmp_path, version=version))


def test_a_truncated_engine_is_told_as_such(tmp_path: Path) -> None:
    file = engine(tmp_path)
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-10])
    assert f"model.engine is truncated: it has {size - 10} of {size} bytes" in inspected(file)
    file.write_bytes(b"")
    assert "is truncated: it has 0 of" in inspected(file)
    file.unlink()
    assert "is missing" in inspected(file)


def test_other_bytes_of_the_same_size_are_another_engine(tmp_path: Path) -> None:
    file = engine(tmp_path)
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    file.write_bytes(content)
    assert "is not the engine that its passport was issued for" in inspected(file)


def test_drivers_may_differ(tmp_path: Path) -> None:
    file = engine(tmp_path)
    issued = passport.read_passport(tmp_path / "engine.json")
    replace(issued, driver="999.1", cuda="99.0").write(tmp_path)
    assert inspected(file) == ""


def test_a_manifest_says_it_too(tmp_path: Path) -> None:
    file = engine(tmp_path, gpu="NVIDIA GeForce RTX 3060", capability="8.6")
    facts = {"engine": json.loads((tmp_path / "engine.json").read_text())}
    (tmp_path / "manifest.json").write_text(json.dumps({"predicate": {"verification": {"facts": facts}}}))
    (tmp_path / "engine.json").unlink()
    assert passport.read_passport(tmp_path / "manifest.json").capability == "8.6"
    cuda = StandInCuda(HERE["gpu"], HERE["capability"])
    with pytest.raises(EngineError, match="is for another architecture, sm_86"):
        runtime.TrtModel(file, trt=stand_in(HERE["tensorrt"], cuda), cuda=cuda)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tensorrt": 1}', '{"predicate": {}}', '"word"', "null"])
def test_what_is_no_passport_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "engine.json").write_text(text)
    with pytest.raises(EngineError, match="does not say what the engine was made for"):
        passport.read_passport(tmp_path / "engine.json")


def test_an_engine_without_papers_is_not_loaded(tmp_path: Path) -> None:
    file = engine(tmp_path)
    (tmp_path / "engine.json").unlink()
    cuda = StandInCuda(HERE["gpu"], HERE["capability"])
    with pytest.raises(EngineError, match="nothing says which GPU and which TensorRT"):
        runtime.TrtModel(file, trt=stand_in(HERE["tensorrt"], cuda), cuda=cuda)


def test_the_library_refuses_before_tensorrt_sees_a_byte(tmp_path: Path) -> None:
    file = engine(tmp_path / "face" / "trt-fp16" / "0123", gpu="NVIDIA GeForce RTX 3060", capability="8.6")
    cuda = StandInCuda(HERE["gpu"], HERE["capability"])
    trt = stand_in(HERE["tensorrt"], cuda)
    trt.Runtime = None  # whoever calls it fails otherwise
    with pytest.raises(EngineError) as caught:
        runtime.TrtModel(file, trt=trt, cuda=cuda)
    assert caught.value.remedy == "build the right one here: make trt MODEL=face"


def test_the_key_and_the_passport_name_the_same_things(tmp_path: Path) -> None:
    engine(tmp_path)
    assert set(json.loads((tmp_path / "engine.json").read_text())) == {
        "tensorrt", "gpu", "capability", "driver", "cuda", "size", "sha256"}
