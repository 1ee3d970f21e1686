"""The way from ONNX to an engine with its builder taken by a stand-in: what is built, compared, kept and handed on.

TensorRT builds only where there is a GPU. What stands in its place makes engines of the toys' kind, whose layers give
NaN in half precision where the test says so; the search, the runtime, the passports and the files are the real ones.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from jobkit import EngineError, Events, FileSource, Input, Job, OptionError, Output
from jobkit.job import LatencyPlan
from trttoys import StandInCuda, import_module, stand_in, tensor

onnxway, engines, building = map(import_module, ("onnxway", "engines", "building"))

LAYERS = [f"conv{index}" for index in range(12)]
X = np.arange(6, dtype=np.float32).reshape(2, 3)


class Bench:
    """A stand-in for parser and builder, and what it was asked for."""

    def __init__(self, harmful: set[str] | None = None) -> None:
        self.harmful, self.wishes, self.cuda = harmful or set(), [], StandInCuda()
        self.trt = stand_in("8.2.4.2", self.cuda)
        self.trt.float32 = "FLOAT"

    def parse(self, api: Any, file: Path) -> Any:
        layers = [SimpleNamespace(name=name, type=SimpleNamespace(name="CONVOLUTION"), num_outputs=1,
                                  get_output=lambda index: SimpleNamespace(dtype="FLOAT")) for name in LAYERS]
        return SimpleNamespace(inputs=[SimpleNamespace(name="x", shape=(-1, 3))], layers=layers)

    def build(self, parsed: Any, wish: Any) -> Any:
        self.wishes.append(wish)
        if wish.calibrator is not None:
            while wish.calibrator.get_batch(["x"]):
                pass
            wish.calibrator.write_calibration_cache(b"TRT-8204\nx: 3c010a14\n")
        good = wish.precision != "fp16" or self.harmful <= set(wish.floats)
        span = wish.profile["x"]
        text = json.dumps({"tensors": [
            tensor("x", [-1, 3], least=list(span.least), most=list(span.most)),
            tensor("y", [-1, 3], of="x", times=2 if good else float("nan"))]})
        return building.Made(text.encode(), (wish.timing or b"") + b"t")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bench:
    bench = Bench(getattr(request, "param", None))
    api = SimpleNamespace(trt=bench.trt, version="8.2.4.2", tensors=lambda engine: ([], []))
    bench.trt.IInt8EntropyCalibrator2 = type("IInt8EntropyCalibrator2", (), {"__init__": lambda self: None})
    monkeypatch.setattr(onnxway, "find", lambda *modules: api)
    monkeypatch.setattr(onnxway, "open_gpu", lambda api: bench.cuda)
    monkeypatch.setattr(onnxway, "parse", bench.parse)
    monkeypatch.setattr(onnxway, "build", bench.build)
    return bench


def make_job(folder: Path, precision: str = "fp32", **options: Any) -> Job:
    for name in ("in", "out"):
        (folder / name).mkdir(exist_ok=True)
    return Job(folder=folder, model="toy", target="trt", variant="trt", precision=precision,
               source=FileSource("onnx", folder / "in" / "model.onnx"), options=options,
               inputs=(Input("x", (2, 3), "float32", None),), outputs=(Output("y", None, None),), samples=[{"x": X}],
               calibration=None, promises=(), latency=LatencyPlan(1, 5, 1.0), reference=False, given=(), lint=None,
               meaning={}, events=Events(folder / "out" / "events.jsonl"))


def test_an_engine_in_fp32_is_one_build_with_a_passport_and_timings(bench: Bench, tmp_path: Path) -> None:
    job = make_job(tmp_path)
    assert onnxway.convert(job) == ["model.engine", "engine.json"]
    (wish,) = bench.wishes
    assert (wish.precision, wish.floats, wish.tf32, wish.workspace, wish.timing) == ("fp32", (), False, 1 << 30, b"")
    assert (tmp_path / "out" / "timing.cache").read_bytes() == b"t"
    assert job.facts["engine"] == json.loads((tmp_path / "out" / "engine.json").read_text())
    assert (job.facts["engine"]["tensorrt"], job.facts["engine"]["capability"]) == ("8.2.4.2", "8.6")


def test_timings_of_earlier_builds_go_in_and_come_out_as_more(bench: Bench, tmp_path: Path) -> None:
    job = make_job(tmp_path)
    (tmp_path / "in" / "timing.cache").write_bytes(b"before ")
    onnxway.convert(job)
    assert bench.wishes[0].timing == b"before "
    assert (tmp_path / "out" / "timing.cache").read_bytes() == b"before t"


def test_a_range_of_batches_is_the_profile_and_any_batch_runs(bench: Bench, tmp_path: Path) -> None:
    job = make_job(tmp_path, batch="2,4,8")
    files = onnxway.convert(job)
    span = bench.wishes[0].profile["x"]
    assert (span.least, span.usual, span.most) == ((2, 3), (4, 3), (8, 3))
    runtime = onnxway.load(files, job)
    assert (runtime.device.wanted, runtime.device.used) == ("gpu", "gpu")
    for items in (1, 3, 20):
        given = np.full((items, 3), items, np.float32)
        assert np.array_equal(runtime({"x": given})["y"], 2 * given)
    assert runtime.figures is not None and runtime.figures({"x": np.zeros((20, 3), np.float32)})["items per second"] > 0


def test_the_file_of_a_new_engine_is_measured_beside_it_and_that_of_a_given_one_is_not(
        bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(onnxway.rivals, "onnxruntime", lambda file, sample: seen.append((file, sample)) or {"rival": 7})
    job = make_job(tmp_path)
    files = onnxway.convert(job)
    engine = onnxway.load(files, job)
    assert engine.figures is not None and not seen, "it is measured when the engine is"
    found = engine.figures({"x": X})
    assert found["rival"] == 7 and found["items per second"] > 0
    assert seen == [(tmp_path / "in" / "model.onnx", {"x": X})]
    again = onnxway.load(files, replace(job, given=("model.engine",)))
    assert again.figures is not None and "rival" not in again.figures({"x": X})


def test_half_precision_that_holds_keeps_no_layer(bench: Bench, tmp_path: Path) -> None:
    job = make_job(tmp_path, "fp16")
    onnxway.convert(job)
    assert [wish.precision for wish in bench.wishes] == ["fp16", "fp32"]
    assert job.facts["fp32 layers"] == []
    assert bench.cuda.memory == {} and bench.cuda.depth == 0


@pytest.mark.parametrize("bench", [{"conv3", "conv9"}], indirect=True)
def test_layers_that_give_nan_are_found_kept_and_named(bench: Bench, tmp_path: Path) -> None:
    job = make_job(tmp_path, "fp16")
    files = onnxway.convert(job)
    assert job.facts["fp32 layers"] == ["conv3", "conv9"]
    assert np.array_equal(onnxway.load(files, job)({"x": X})["y"], 2 * X), "the engine that was kept is the right one"
    kept = [frozenset(wish.floats) for wish in bench.wishes if wish.precision == "fp16"]
    assert len(kept) == len(set(kept)), "no engine is built twice"


@pytest.mark.parametrize("bench", [{"conv3"}], indirect=True)
@pytest.mark.parametrize("options", [{"find_fp32_layers": False}, {"fp32_layers": ["conv1"]}])
def test_where_layers_are_named_or_the_search_is_off_the_gates_have_the_word(bench: Bench, tmp_path: Path,
                                                                             options: Any) -> None:
    onnxway.convert(make_job(tmp_path, "fp16", **options))
    (wish,) = bench.wishes
    assert wish.floats == tuple(options.get("fp32_layers", ()))


def test_int8_is_calibrated_on_every_sample_and_its_ranges_are_kept(bench: Bench, tmp_path: Path) -> None:
    samples = [{"x": X + number} for number in range(3)]
    job = replace(make_job(tmp_path, "int8"), calibration=samples)
    seen: list[Any] = []
    write, cuda = bench.cuda.to_device, bench.cuda
    bench.cuda.to_device = lambda address, array: (seen.append(array.view(np.float32).copy()), write(address, array))
    assert onnxway.convert(job) == ["model.engine", "engine.json", "calibration.cache"]
    assert [list(each) for each in seen] == [list((X + number).ravel()) for number in range(3)]
    assert cuda.memory == {}, "what calibration used is freed"


def test_calibration_has_the_shape_of_its_samples_whatever_the_range_of_batches(bench: Bench, tmp_path: Path) -> None:
    """TensorRT reads as many bytes as the shape says: those of the usual batch would lie behind the sample."""
    job = replace(make_job(tmp_path, "int8", batch="1,4,8"), calibration=[{"x": X[:1]}])
    onnxway.convert(job)
    (wish,) = bench.wishes
    assert wish.profile["x"].usual == (4, 3)
    assert (wish.calibration["x"].least, wish.calibration["x"].usual, wish.calibration["x"].most) == ((1, 3),) * 3


def test_no_other_precision_has_a_calibration_profile(bench: Bench, tmp_path: Path) -> None:
    onnxway.convert(make_job(tmp_path, "fp16", batch="1,4,8"))
    assert [wish.calibration for wish in bench.wishes] == [{}, {}]


def test_int8_without_a_calibration_set_is_refused(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="int8 wants calibration samples"):
        onnxway.convert(make_job(tmp_path, "int8"))


def test_a_calibration_that_fails_fails_the_job(bench: Bench, tmp_path: Path) -> None:
    job = replace(make_job(tmp_path, "int8"), calibration=[{"x": X}, {"other": X}])
    with pytest.raises(KeyError):
        onnxway.convert(job)
    assert bench.cuda.memory == {}


@pytest.mark.parametrize(("options", "value"), [({}, "0"), ({"tf32": False}, "0"), ({"tf32": True}, None)])
def test_tf32_is_off_in_all_of_nvidias_libraries_unless_it_is_asked_for(bench: Bench, tmp_path: Path, options: Any,
                                                                        value: str | None,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "")  # what the job sets is gone afterwards
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    onnxway.prepare(make_job(tmp_path, **options))
    assert os.environ.get("NVIDIA_TF32_OVERRIDE") == value


@pytest.mark.parametrize("tolerance", [-1, 1, 7])
def test_a_tolerance_that_means_nothing_is_refused(tmp_path: Path, tolerance: float) -> None:
    with pytest.raises(OptionError, match="is not between 0 and 1"):
        onnxway.read_options(make_job(tmp_path, tolerance=tolerance))


def test_a_given_engine_of_another_gpu_is_not_loaded(bench: Bench, tmp_path: Path) -> None:
    job = make_job(tmp_path)
    files = onnxway.convert(job)
    document = json.loads((tmp_path / "out" / "engine.json").read_text())
    (tmp_path / "out" / "engine.json").write_text(json.dumps({**document, "capability": "7.5", "gpu": "Tesla T4"}))
    with pytest.raises(EngineError, match="is for another architecture, sm_75"):
        onnxway.load(files, job)


@pytest.mark.parametrize(("text", "version"), [
    ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6\n", "535.54.03"),
    ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.90.07  Release Build\n", "550.90.07"),
    ("words\n", ""), ("", "")])
def test_the_driver_is_read_from_the_kernel(tmp_path: Path, text: str, version: str) -> None:
    (tmp_path / "version").write_text(text)
    assert engines.driver(str(tmp_path / "version")) == version
    assert engines.driver(str(tmp_path / "absent")) == ""
