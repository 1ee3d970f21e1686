from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from modelfarm import samples
from modelfarm.decoders.prediction import Placement
from modelfarm.errors import RecipeError
from modelfarm.samples import other_size, prepare
from tests.cases import choice, entry, picture

PICTURE = entry(how=picture(scale=1 / 255))


def painted(folder: Path, name: str, value: int = 51, size: tuple[int, int] = (6, 10)) -> Path:
    assert cv2.imwrite(str(folder / name), np.full((*size, 3), value, np.uint8))
    return folder / name


def test_a_picture_becomes_a_sample_of_its_name_with_its_placement(tmp_path: Path) -> None:
    file = painted(tmp_path, "a.png")
    sample, = prepare([PICTURE], choice(), [file], [], {})
    assert (sample.name, sample.group, sample.pictures) == ("a.png", "a.png", (file,))
    tensor = sample.tensors["input"]
    assert (tensor.shape, tensor.dtype, tensor.flags.c_contiguous) == ((1, 3, 8, 8), np.float32, True)
    assert tensor == pytest.approx(0.2)
    place, = sample.placements
    assert place is not None
    assert (place.width, place.height, place.scale_x, place.scale_y) == (10, 6, 0.8, 8 / 6)


def test_of_a_picture_with_a_region_the_model_gets_that_part(tmp_path: Path) -> None:
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[10:18, 20:28] = 255
    assert cv2.imwrite(str(tmp_path / "a.png"), pixels)
    wish = replace(choice(), regions={"a.png": (20, 10, 28, 18)})
    sample, = prepare([PICTURE], wish, [tmp_path / "a.png"], [], {})
    assert (sample.tensors["input"] == 1).all()
    place, = sample.placements
    assert place is not None
    assert (place.width, place.height, place.input_width) == (100, 60, 8)
    assert place.to_picture(np.array([0.0, 0.0, 8.0, 8.0])).tolist() == [20, 10, 28, 18]


def test_a_region_of_a_picture_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    wish = replace(choice(), regions={"b.png": (0, 0, 4, 4)})
    with pytest.raises(RecipeError, match=r"samples\.regions: there is no picture 'b\.png'; did you mean a\.png"):
        prepare([PICTURE], wish, [painted(tmp_path, "a.png")], [], {})


def test_a_fixed_batch_repeats_the_picture(tmp_path: Path) -> None:
    sample, = prepare([entry(shape=(3, 3, 8, 8), how=picture())], choice(), [painted(tmp_path, "a.png")], [], {})
    assert sample.tensors["input"].shape == (3, 3, 8, 8)
    assert len(sample.placements) == len(sample.pictures) == 3


def test_inputs_beside_a_picture_get_seeded_numbers(tmp_path: Path) -> None:
    inputs = [PICTURE, entry("tokens", (1, 50), "int64", None), entry("noise", (1, 4000), layout=None),
              entry("mask", (1, 64), "bool", None), entry("half", (1, 9), "float16", None)]
    sample, = prepare(inputs, choice(seed=3), [painted(tmp_path, "a.png")], [], {})
    tokens, noise = sample.tensors["tokens"], sample.tensors["noise"]
    assert tokens.dtype == np.int64 and tokens.min() >= 0 and 1 < tokens.max() < 10
    assert noise.dtype == np.float32 and abs(noise.mean()) < 0.1 and abs(noise.std() - 1) < 0.1
    assert sample.tensors["mask"].dtype == np.bool_ and 0 < sample.tensors["mask"].sum() < 64
    assert sample.tensors["half"].dtype == np.float16


def test_random_samples_of_picture_inputs_are_pictures_in_the_same_scale() -> None:
    first, second = prepare([PICTURE], choice(random=2), [], [], {})
    assert (first.name, second.name, first.group) == ("random-0", "random-1", "random")
    steps = first.tensors["input"] * 255
    assert steps == pytest.approx(np.rint(steps), abs=1e-3)
    assert steps.min() >= 0 and 200 < steps.max() <= 255
    assert not np.array_equal(first.tensors["input"], second.tensors["input"])
    assert first.placements == (Placement.identity(8, 8),)
    assert first.pictures == ()


def test_random_grey_pictures_in_both_layouts() -> None:
    grey = picture(color="gray")
    for shape, layout in (((2, 1, 4, 6), "NCHW"), ((2, 4, 6, 1), "NHWC")):
        sample, = prepare([entry(shape=shape, layout=layout, how=grey)], choice(random=1), [], [], {})
        assert sample.tensors["input"].shape == shape
        assert sample.placements == (Placement.identity(6, 4),) * 2


def test_random_numbers_depend_on_the_seed_and_the_samples_name_only(tmp_path: Path) -> None:
    alone = prepare([PICTURE], choice(random=2, seed=5), [], [], {})
    beside = prepare([PICTURE], choice(random=1, seed=5), [painted(tmp_path, "a.png")], [], {})
    other = prepare([PICTURE], choice(random=1, seed=6), [], [], {})
    assert np.array_equal(alone[0].tensors["input"], beside[1].tensors["input"])
    assert not np.array_equal(alone[0].tensors["input"], other[0].tensors["input"])


def test_rows_of_an_array_file_are_cut_into_batches_with_their_labels(tmp_path: Path) -> None:
    values = np.arange(16, dtype=np.float32).reshape(4, 4)
    np.savez(tmp_path / "held.npz", x=values, label=np.array([7, 8, 9, 6]))
    first, second = prepare([entry("x", (2, 4), layout=None)], choice(), [], [tmp_path / "held.npz"], {})
    assert (first.name, second.name, second.group) == ("held.npz#0", "held.npz#1", "held.npz")
    assert second.tensors["x"].tolist() == values[2:].tolist()
    assert second.labels is not None and second.labels.tolist() == [9, 6]
    assert second.placements == (None, None)


def test_array_samples_without_labels_have_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "held.npz", input=np.zeros((1, 3, 8, 8), np.float32))
    sample, = prepare([entry()], choice(), [], [tmp_path / "held.npz"], {})
    assert sample.labels is None
    assert sample.placements == (Placement.identity(8, 8),)


def test_a_dynamic_batch_adds_a_sample_that_stacks_the_first_four(tmp_path: Path) -> None:
    files = [painted(tmp_path, f"{index}.png", index) for index in range(6)]
    *singles, batch = prepare([PICTURE], choice(), files, [], {"input": {0: "batch"}})
    assert (batch.name, batch.group, batch.pictures, batch.labels) == ("batch-4", "batch", (), None)
    assert np.array_equal(batch.tensors["input"], np.concatenate([single.tensors["input"] for single in singles[:4]]))
    assert batch.placements == tuple(single.placements[0] for single in singles[:4])


def test_a_single_sample_is_stacked_on_itself() -> None:
    single, batch = prepare([PICTURE], choice(random=1), [], [], {"input": {0: "batch"}})
    assert batch.name == "batch-2"
    assert np.array_equal(batch.tensors["input"], np.concatenate([single.tensors["input"]] * 2))


def test_only_inputs_with_a_dynamic_batch_are_stacked() -> None:
    inputs = [PICTURE, entry("fixed", (1, 5), layout=None)]
    *_, batch = prepare(inputs, choice(random=3), [], [], {"input": {0: "batch"}})
    assert batch.tensors["input"].shape[0] == 3
    assert batch.tensors["fixed"].shape == (1, 5)


def test_only_samples_of_one_shape_are_stacked(tmp_path: Path) -> None:
    np.savez(tmp_path / "long.npz", x=np.zeros((2, 9), np.float32))
    axes = {"x": {0: "batch", 1: "length"}}
    found = prepare([entry("x", (1, 64), layout=None)], choice(random=1), [], [tmp_path / "long.npz"], axes)
    assert [sample.tensors["x"].shape for sample in found] == [(1, 9), (1, 9), (1, 64), (2, 9), (1, 32)]


def test_dynamic_sides_add_a_random_picture_of_another_size() -> None:
    shape = entry(shape=(1, 3, 480, 640), how=picture())
    *_, other = prepare([shape], choice(random=1), [], [], {"input": {2: "height", 3: "width"}})
    assert other.tensors["input"].shape == (1, 3, 256, 320)
    assert (other.name, other.group) == ("random-1x3x256x320", "random")
    assert other.placements == (Placement.identity(320, 256),)


def test_without_dynamic_axes_there_are_no_further_samples() -> None:
    assert [sample.name for sample in prepare([PICTURE], choice(random=1), [], [], {"input": {}})] == ["random-0"]
    assert prepare([PICTURE], choice(), [], [], {"input": {0: "batch"}}) == []


@pytest.mark.parametrize(("side", "other"), [(640, 320), (480, 256), (224, 128), (64, 32), (40, 32), (32, 64), (8, 32)])
def test_another_size_is_half_in_steps_of_32(side: int, other: int) -> None:
    assert other_size(side) == other


def test_pictures_for_a_model_without_picture_inputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"a\.png: no input takes pictures"):
        prepare([entry()], choice(), [painted(tmp_path, "a.png")], [], {})


def test_two_samples_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    files = [painted(tmp_path, "a.png"), painted(tmp_path / "b", "a.png")]
    with pytest.raises(RecipeError, match=r"several files are called a\.png"):
        prepare([PICTURE], choice(), files, [], {})


def test_tensors_are_written_by_sample_and_input(tmp_path: Path) -> None:
    found = prepare([PICTURE, entry("file", (1, 5), layout=None)], choice(random=2), [], [], {})
    samples.write(found, tmp_path / "samples.npz")
    with np.load(tmp_path / "samples.npz") as archive:
        assert sorted(archive.files) == ["0/file", "0/input", "1/file", "1/input"]
        assert np.array_equal(archive["1/input"], found[1].tensors["input"])


def test_rows_that_do_not_fill_a_fixed_batch_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "rows.npz"
    values = np.arange(28, dtype=np.float32).reshape(7, 4)
    np.savez(file, x=values, label=np.arange(7))
    inputs = [entry("x", (3, 4), layout=None)]
    found = prepare(inputs, replace(choice(), all_rows=False), [], [file], {})
    assert [sample.name for sample in found] == ["rows.npz#0", "rows.npz#1"]
    assert np.concatenate([sample.tensors["x"] for sample in found]).tolist() == values[:6].tolist()
    assert [sample.labels.tolist() for sample in found if sample.labels is not None] == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(RecipeError, match="the last 1 do not fill a batch of 3"):
        prepare(inputs, choice(), [], [file], {})


def test_rows_that_fill_no_batch_at_all_are_no_sample(tmp_path: Path) -> None:
    file = tmp_path / "rows.npz"
    np.savez(file, x=np.zeros((2, 4), np.float32))
    assert prepare([entry("x", (3, 4), layout=None)], replace(choice(), all_rows=False), [], [file], {}) == []
