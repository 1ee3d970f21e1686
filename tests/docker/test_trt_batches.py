"""Batches of any size through engines that take some, and the timing cache between two builds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from trttoys import batches, bindings, timing


def binding(name: str, shape: tuple[int, ...], least: tuple[int, ...], most: tuple[int, ...]) -> Any:
    return bindings.Binding(name, True, shape, np.dtype(np.float32), least, most)


class Engine:
    """Doubles batches of a size that it takes, and remembers the sizes."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most, self.seen = least, most, []
        self.inputs = [binding("x", (-1, 2), (least, 2), (most, 2))]

    def __call__(self, inputs: Any) -> Any:
        items = inputs["x"].shape[0]
        assert self.least <= items <= self.most
        self.seen.append(items)
        return {"y": 2 * inputs["x"], "constant": np.arange(3)}


@pytest.mark.parametrize(("least", "most", "items", "seen"), [
    (1, 8, 1, [1]), (1, 8, 8, [8]), (1, 8, 9, [8, 1]), (1, 4, 11, [4, 4, 3]), (4, 8, 1, [4]), (4, 8, 9, [8, 4]),
    (8, 8, 3, [8]), (1, 1, 3, [1, 1, 1]),
])
def test_every_item_is_computed_once_whatever_the_engine_takes(least: int, most: int, items: int,
                                                               seen: list[int]) -> None:
    engine = Engine(least, most)
    given = np.random.default_rng(0).standard_normal((items, 2)).astype(np.float32)
    outputs = batches.in_batches(engine, engine.inputs)({"x": given})
    assert np.array_equal(outputs["y"], 2 * given)
    assert engine.seen == seen


def test_an_output_that_does_not_grow_with_the_batch_comes_as_it_is() -> None:
    engine = Engine(4, 8)
    outputs = batches.in_batches(engine, engine.inputs)({"x": np.zeros((1, 2), np.float32)})
    assert list(outputs["constant"]) == [0, 1, 2]


def test_an_engine_with_a_fixed_batch_is_called_as_it_is() -> None:
    def run(inputs: Any) -> Any:
        return inputs

    assert batches.in_batches(run, [binding("x", (1, 2), (1, 2), (1, 2))]) is run
    assert batches.limits([binding("x", (1, -1), (1, 2), (1, 9))]) == (0, 0)


def test_several_inputs_are_cut_together_and_one_that_is_fixed_is_not() -> None:
    inputs = [binding("a", (-1, 2), (1, 2), (2, 2)), binding("b", (-1,), (1,), (3,)), binding("c", (5,), (5,), (5,))]
    seen = []

    def run(given: Any) -> Any:
        seen.append({name: array.shape for name, array in given.items()})
        return {"y": given["a"][:, 0] + given["b"] + given["c"].sum()}

    a, b, c = np.ones((5, 2)), np.arange(5.0), np.ones(5)
    outputs = batches.in_batches(run, inputs)({"a": a, "b": b, "c": c})
    assert list(outputs["y"]) == [6, 7, 8, 9, 10]
    assert [shapes["a"][0] for shapes in seen] == [2, 2, 1] and all(shapes["c"] == (5,) for shapes in seen)


@pytest.mark.parametrize(("items", "least", "most"), [(0, 1, 4), (3, 0, 4), (3, 5, 4)])
def test_what_cannot_be_divided_is_an_error(items: int, least: int, most: int) -> None:
    with pytest.raises(ValueError, match="cannot be divided"):
        batches.parts(items, least, most)


def test_the_first_build_has_no_timings_and_the_next_those_of_the_first(tmp_path: Path) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    job = SimpleNamespace(folder=tmp_path, out=tmp_path / "out")
    assert timing.read_timing(job) == b""
    timing.write_timing(job, b"some timings")
    (tmp_path / "out" / timing.NAME).rename(tmp_path / "in" / timing.NAME)
    assert timing.read_timing(job) == b"some timings"
    for nothing in (b"", None):
        timing.write_timing(job, nothing)
        assert not (tmp_path / "out" / timing.NAME).exists()


@pytest.mark.parametrize(("version", "name"), [
    ("8.2.4.2", "Numbered"), ("8.6.1", "Numbered"), ("10.16.1.11", "Named"), ("11.4.0.106", "Named")])
def test_the_way_to_an_engines_tensors_is_chosen_by_the_version(version: str, name: str) -> None:
    assert bindings.choose_bindings(SimpleNamespace(__version__=version)).__name__ == name


@pytest.mark.parametrize(("shape", "least", "most", "wanted"), [
    ((2, 3), None, None, ((2, 3), (2, 3))),
    ((-1, 3), [1, 3], [8, 3], ((1, 3), (8, 3))),
    ((2, 3), [], [], ((2, 3), (2, 3))),
    ((2, 3), [0], [0], ((2, 3), (2, 3))),
])
def test_an_input_without_a_profile_has_the_range_of_its_shape(shape: Any, least: Any, most: Any, wanted: Any) -> None:
    assert bindings.ranges(shape, least, most) == wanted
