"""TrtModel on a stand-in for TensorRT and CUDA, as there is no GPU where tests run: both generations of the API."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobkit import EngineError, GraphError
from trttoys import StandInCuda, latency, passport, runtime, stand_in, tensor, write_engine

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(params=["8.2.4.2", "10.16.1.11"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cuda() -> StandInCuda:
    return StandInCuda()


Open = Callable[..., Any]


@pytest.fixture
def open_model(tmp_path: Path, version: str, cuda: StandInCuda) -> Iterator[Open]:
    """Return a function that writes an engine and opens it; all of them are closed at the end."""
    opened = []

    def make(*tensors: Any, **more: Any) -> Any:
        file = write_engine(tmp_path / str(len(opened)), *tensors, version=version, **more)
        opened.append(runtime.TrtModel(file, trt=stand_in(version, cuda), cuda=cuda))
        return opened[-1]

    yield make
    for model in opened:
        model.close()
    assert cuda.depth == 0 and cuda.memory == {} and cuda.queue == []


def doubling(**more: Any) -> tuple[Any, Any]:
    return tensor("x", [2, 3], **more), tensor("y", [2, 3], of="x", times=2)


def test_it_computes_what_its_engine_says(open_model: Open) -> None:
    model = open_model(*doubling())
    outputs = model({"x": X})
    assert list(outputs) == ["y"] and outputs["y"].dtype == np.float32
    assert np.array_equal(outputs["y"], 2 * X)


def test_the_next_run_leaves_the_outputs_of_the_last_alone(open_model: Open) -> None:
    model = open_model(*doubling())
    first = model({"x": X})["y"]
    second = model({"x": X + 100})["y"]
    assert np.array_equal(first, 2 * X) and np.array_equal(second, 2 * X + 200)


def test_any_number_of_inputs_and_outputs_in_the_engines_own_order_and_types(open_model: Open) -> None:
    model = open_model(tensor("late", [2], of="b", times=3, dtype="half"), tensor("a", [2, 3]),
                       tensor("y", [2, 3], of="a", times=-1), tensor("b", [2], dtype="int32"))
    outputs = model({"b": np.array([5, 7], np.int32), "a": X})
    assert [each.name for each in model.inputs] == ["a", "b"]
    assert np.array_equal(outputs["y"], -X)
    assert outputs["late"].dtype == np.float16 and list(outputs["late"]) == [15, 21]


def test_free_shapes_grow_and_shrink_from_run_to_run(open_model: Open, cuda: StandInCuda) -> None:
    model = open_model(tensor("x", [-1, 3], least=[1, 3], most=[8, 3]), tensor("y", [-1, 3], of="x", times=2))
    for items in (1, 8, 3):
        given = np.full((items, 3), items, np.float32)
        assert np.array_equal(model({"x": given})["y"], 2 * given)
    assert len(cuda.memory) == 2, "each tensor has one buffer, the largest that was needed"


def test_arrays_that_are_no_plain_memory_are_read_in_the_order_of_their_axes(open_model: Open) -> None:
    model = open_model(*doubling())
    assert np.array_equal(model({"x": X.T.copy().T})["y"], 2 * X)
    assert np.array_equal(model({"x": np.repeat(X, 2, axis=1)[:, ::2]})["y"], 2 * X)


@pytest.mark.parametrize(("given", "said"), [
    ({"x": X.astype(np.float64)}, "takes float32, not float64"),
    ({"x": X[0]}, "has 2 axes, not 1"),
    ({"x": X[:, :2]}, r"cannot have the shape \[2, 2\]"),
    ({}, r"has the inputs \['x'\], not \[\]"),
    ({"x": X, "z": X}, "not \\['x', 'z'\\]"),
])
def test_what_is_not_the_engines_is_refused_before_anything_runs(open_model: Open, cuda: StandInCuda, given: Any,
                                                                 said: str) -> None:
    model = open_model(*doubling())
    with pytest.raises(GraphError, match=said):
        model(given)
    assert cuda.queue == [] and cuda.depth == 0
    assert np.array_equal(model({"x": X})["y"], 2 * X), "and the model is as good as before"


def test_a_shape_outside_the_profile_is_told_with_the_profile(open_model: Open) -> None:
    model = open_model(tensor("x", [-1, 3], least=[2, 3], most=[4, 3]), tensor("y", [-1, 3], of="x"))
    for items in (1, 5):
        with pytest.raises(GraphError) as caught:
            model({"x": np.zeros((items, 3), np.float32)})
        assert caught.value.remedy == "the engine was built for shapes from [2, 3] to [4, 3]"


def test_an_output_whose_size_depends_on_values_is_refused(open_model: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_model(*doubling())
    monkeypatch.setattr(model.bindings, "shape_of", lambda name: (-1, 3))
    with pytest.raises(GraphError, match="the size of output 'y' depends on the values"):
        model({"x": X})


def test_a_run_that_does_not_begin_is_an_error_and_gives_the_context_back(open_model: Open, cuda: StandInCuda) -> None:
    model = open_model(*doubling(), fails=True)
    with pytest.raises(GraphError, match="cannot run the engine"):
        model({"x": X})
    assert cuda.depth == 0
    cuda.queue.clear()


def test_an_empty_tensor_is_no_problem(open_model: Open) -> None:
    model = open_model(tensor("x", [-1, 3], least=[0, 3], most=[4, 3]), tensor("y", [-1, 3], of="x", times=2))
    assert model({"x": np.zeros((0, 3), np.float32)})["y"].shape == (0, 3)


def test_closing_frees_everything_once_and_a_closed_model_says_so(open_model: Open, cuda: StandInCuda) -> None:
    with open_model(*doubling()) as model:
        model({"x": X})
        assert cuda.memory
    assert cuda.memory == {} and cuda.depth == 0
    model.close()
    with pytest.raises(EngineError, match="closed"):
        model({"x": X})
    assert cuda.closed == 0, "the GPU was given: it is its owner's to close"


def test_an_error_inside_with_closes_too(open_model: Open, cuda: StandInCuda) -> None:
    with pytest.raises(KeyError), open_model(*doubling()) as model:
        model({"x": X})
        raise KeyError
    assert cuda.memory == {} and cuda.depth == 0


def test_a_model_that_opened_the_gpu_itself_closes_it_after_all_else(tmp_path: Path, version: str,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = StandInCuda()
    monkeypatch.setattr("runtime.open_cuda", lambda wanted: cuda if wanted == version else None)
    file = write_engine(tmp_path, *doubling(), version=version)
    with runtime.TrtModel(file, trt=stand_in(version, cuda)) as model:
        model({"x": X})
    assert (cuda.closed, cuda.memory) == (1, {})
    broken = write_engine(tmp_path / "other", *doubling(), version=version, gpu="Another")
    with pytest.raises(EngineError):
        runtime.TrtModel(broken, trt=stand_in(version, cuda))
    assert cuda.closed == 2, "also where the engine was refused"


def test_two_models_share_a_gpu(open_model: Open) -> None:
    double, triple = open_model(*doubling()), open_model(tensor("x", [2, 3]), tensor("y", [2, 3], of="x", times=3))
    assert np.array_equal(double({"x": triple({"x": X})["y"]})["y"], 6 * X)
    double.close()
    assert np.array_equal(triple({"x": X})["y"], 3 * X)


def test_threads_wait_for_each_other(open_model: Open, cuda: StandInCuda) -> None:
    model, wrong = open_model(*doubling()), []

    def work(number: int) -> None:
        for _ in range(20):
            given = np.full((2, 3), number, np.float32)
            if not np.array_equal(model({"x": given})["y"], 2 * given):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and cuda.most == 1


def test_bytes_that_tensorrt_cannot_read_are_told_in_its_words(tmp_path: Path, version: str, cuda: StandInCuda) -> None:
    file = write_engine(tmp_path, *doubling(), version=version)
    file.write_text("no engine")
    passport.issue(file, tensorrt=version, gpu="Toy GPU", capability="8.6", driver="", cuda="").write(tmp_path)
    with pytest.raises(EngineError, match="cannot load model.engine: .*magicTagRead == magicTag failed"):
        runtime.TrtModel(file, trt=stand_in(version, cuda), cuda=cuda)
    assert cuda.depth == 0 and cuda.memory == {}


def test_a_type_that_numpy_does_not_have_is_named(tmp_path: Path, version: str, cuda: StandInCuda) -> None:
    file = write_engine(tmp_path, tensor("x", [2]), tensor("y", [2], of="x", dtype="fp8"), version=version)
    with pytest.raises(GraphError, match="numpy has no type"):
        runtime.TrtModel(file, trt=stand_in(version, cuda), cuda=cuda)


def test_measuring_gives_both_latencies_and_the_throughput(open_model: Open) -> None:
    model = open_model(*doubling())
    found = latency.measure_engine(model, {"x": X}, warmup=1, runs=6)
    assert list(found) == ["with copies, median ms", "with copies, p95 ms", "without copies, median ms",
                           "without copies, p95 ms", "items per second"]
    assert all(value > 0 for value in found.values())
    assert found["with copies, p95 ms"] >= found["with copies, median ms"]
    assert np.array_equal(model({"x": X})["y"], 2 * X), "and the model still computes"
