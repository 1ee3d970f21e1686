"""What is planned before an engine is built, and what its file tells: profiles, compute capabilities, the header."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from jobkit import GraphError, JobError, OptionError
from rtxtoys import building, calibrator, capabilities, enginefile, profiles

Range = profiles.Range
ALL = (75, 80, 86, 89, 120, 121)


# Profiles


@pytest.mark.parametrize("value", ["1,4,8", "1, 4, 8", " 1 ,4,8 "])
def test_a_range_of_batches_is_three_numbers(value: str) -> None:
    assert profiles.read_batch(value) == Range(1, 4, 8)


@pytest.mark.parametrize("value", ["", None, "8", 8])
def test_one_batch_is_no_range(value: Any) -> None:
    assert profiles.read_batch(value) is None


@pytest.mark.parametrize(("value", "said"), [
    ("1,4", "is not three numbers"),
    ("1,2,3,4", "is not three numbers"),
    ("1,x,8", "is not three numbers"),
    ("0,4,8", "is not three numbers from 1 on"),
    ("1,-4,8", "is not three numbers"),
    ("4,1,8", "is not in order"),
    ("1,8,4", "is not in order"),
])
def test_other_ranges_are_refused_with_an_example(value: str, said: str) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        profiles.read_batch(value)
    assert "1,4,8" in caught.value.remedy


def test_fixed_shapes_need_no_profile() -> None:
    assert profiles.plan({"x": (1, 3, 8, 8)}, {"x": (1, 3, 8, 8)}, None) == {}


def test_a_free_batch_has_its_range_and_the_rest_of_the_shape() -> None:
    found = profiles.plan({"x": (-1, 3, 8, 8), "scale": (1,)}, {"x": (1, 3, 8, 8), "scale": (1,)}, Range(1, 4, 8))
    assert found == {"x": Range((1, 3, 8, 8), (4, 3, 8, 8), (8, 3, 8, 8))}


def test_other_free_axes_keep_the_recipes_size() -> None:
    found = profiles.plan({"x": (-1, 3, -1, -1)}, {"x": (1, 3, 32, 48)}, Range(1, 2, 3))
    assert found["x"] == Range((1, 3, 32, 48), (2, 3, 32, 48), (3, 3, 32, 48))


def test_without_a_range_free_axes_are_as_in_the_recipe() -> None:
    found = profiles.plan({"x": (-1, 3, -1, 8)}, {"x": (2, 3, 5, 8)}, None)
    assert found["x"] == Range((2, 3, 5, 8), (2, 3, 5, 8), (2, 3, 5, 8))


def test_several_inputs_share_the_batch_where_it_is_free() -> None:
    shapes = {"x": (-1, 3), "y": (-1, 4), "size": (-1,), "z": (2, -1)}
    found = profiles.plan(shapes, {"x": (1, 3), "y": (1, 4), "size": (1,), "z": (2, 7)}, Range(1, 4, 8))
    assert found["y"].most == (8, 4) and found["size"].usual == (4,)
    assert found["z"] == Range((2, 7), (2, 7), (2, 7))


def test_a_range_for_a_fixed_batch_is_refused() -> None:
    with pytest.raises(OptionError, match="the graph's batch is fixed"):
        profiles.plan({"x": (1, 3, -1, -1)}, {"x": (1, 3, 8, 8)}, Range(1, 4, 8))


# Compute capabilities


@pytest.mark.parametrize(("value", "wanted"), [
    ([], ()),
    (None, ()),
    ([86], (86,)),
    (["89", "86"], (86, 89)),
    (["8.6", "sm_120", "SM75", "12.1"], (75, 86, 120, 121)),
    ([86, "8.6"], (86,)),
])
def test_compute_capabilities_are_read_in_each_usual_form(value: Any, wanted: tuple[int, ...]) -> None:
    assert capabilities.read(value, ALL) == wanted


@pytest.mark.parametrize("value", ["70", "87", "9.0", "ampere", "", "8600", "-86", "12"])
def test_one_that_there_is_not_is_refused_with_those_that_there_are(value: str) -> None:
    with pytest.raises(OptionError, match=f"there is no compute capability {value} ") as caught:
        capabilities.read(["86", value], ALL)
    assert "86 (8.6)" in caught.value.remedy and "120 (12.0)" in caught.value.remedy


def test_they_are_written_as_nvidia_does() -> None:
    assert [capabilities.shown(each) for each in (75, 86, 120, 121)] == ["7.5", "8.6", "12.0", "12.1"]


# The engine's file


def engine(body: bytes = b"..input..output..", *, magic: bytes = b"vtrt", cut: int = 0,
           version: tuple[int, ...] = (1, 7, 1, 116), tag: bytes = b"NGNE") -> bytes:
    """Write a file as TensorRT-RTX does, with a section before the engine's."""
    other, table = b"other", 64 + 2 * 24
    sections = struct.pack("<8sQQ", b"THGW", table, len(other))
    sections += struct.pack("<8sQQ", tag, table + len(other), len(body))
    size = table + len(other) + len(body)
    header = magic + struct.pack("<IIIQ4B", 0, 2, 0, size, *version)
    content = header.ljust(64, b"\0") + sections + other + body
    return content[: len(content) - cut]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.engine"


def test_a_file_tells_its_version_its_size_and_its_engine(file: Path) -> None:
    file.write_bytes(engine())
    found = enginefile.read(file)
    assert (found.version, found.size, found.engine) == ("1.7.1.116", len(engine()), b"..input..output..")
    enginefile.check(found, "1.7.1.116", ["input", "output"])


@pytest.mark.parametrize("cut", [1, 10, 17])
def test_a_truncated_file_is_told_by_its_header(file: Path, cut: int) -> None:
    file.write_bytes(engine(cut=cut))
    said = f"has {len(engine()) - cut} bytes, and its header says {len(engine())}: it is truncated"
    with pytest.raises(GraphError, match=said):
        enginefile.read(file)


@pytest.mark.parametrize("content", [b"", b"vtrt", engine(magic=b"ptrt"), b"\0" * 500])
def test_another_file_is_no_engine(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(GraphError, match=r"model\.engine is no engine of TensorRT-RTX"):
        enginefile.read(file)


def test_a_file_without_an_engine_inside_is_refused(file: Path) -> None:
    file.write_bytes(engine(tag=b"ENGINE"))
    with pytest.raises(GraphError, match="no section with an engine"):
        enginefile.read(file)


def test_a_damaged_table_of_sections_does_not_lead_astray(file: Path) -> None:
    content = bytearray(engine())
    struct.pack_into("<I", content, 8, 1 << 30)  # sections without number
    struct.pack_into("<Q", content, 64 + 24 + 8, 1 << 60)  # an engine beyond the end
    file.write_bytes(content)
    with pytest.raises(GraphError, match="no section with an engine"):
        enginefile.read(file)


def test_an_engine_of_another_version_is_refused_by_name(file: Path) -> None:
    file.write_bytes(engine(version=(1, 2, 0, 54)))
    with pytest.raises(GraphError, match=r"the engine is of TensorRT-RTX 1\.2\.0\.54, and this is 1\.7\.1\.116"):
        enginefile.check(enginefile.read(file), "1.7.1.116", [])


def test_an_engine_of_another_model_is_refused(file: Path) -> None:
    file.write_bytes(engine())
    with pytest.raises(GraphError, match="the engine has no tensor 'image', 'scores'"):
        enginefile.check(enginefile.read(file), "1.7.1.116", ["image", "output", "scores"])


# Layers by name


LAYERS = [SimpleNamespace(name=name) for name in ("/model.0/conv/Conv", "/model.0/act/Mul", "/head/Conv")]


def test_layers_are_chosen_by_name_in_the_order_of_the_names() -> None:
    assert building.choose_layers(LAYERS, ["/head/Conv", "/model.0/conv/Conv"]) == [LAYERS[2], LAYERS[0]]


@pytest.mark.parametrize(("name", "hint"), [("/model.0/conv/Cnv", "did you mean '/model.0/conv/Conv'?"),
                                            ("zzz", "the first are /model.0/conv/Conv, /model.0/act/Mul")])
def test_an_unknown_layer_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(OptionError) as caught:
        building.choose_layers(LAYERS, ["/head/Conv", name])
    assert f"no layer {name!r}" in caught.value.message and hint in caught.value.message


# The calibration set


SAMPLES = [{"x": np.full((2, 3), number, np.float32), "y": np.ones((2, 1), np.float32)} for number in range(3)]


class Memory:
    """Stands for the memory of a GPU: what was copied there, by its address."""

    def __init__(self) -> None:
        self.held: dict[int, Any] = {}

    def upload(self, name: str, array: Any) -> int:
        assert array.flags.c_contiguous
        address = 4096 * (len(self.held) + 1)
        self.held[address] = (name, array.copy())
        return address


def test_batches_come_in_the_order_of_the_names_that_are_asked_for() -> None:
    memory = Memory()
    feed = calibrator.Feed(SAMPLES, memory.upload)
    assert feed.batch == 2
    addresses = feed.next(["y", "x"])
    assert addresses and [memory.held[address][0] for address in addresses] == ["y", "x"]
    feed.next(["y", "x"])
    last = feed.next(["x"])
    assert last and memory.held[last[0]][1].tolist() == SAMPLES[2]["x"].tolist()
    assert feed.next(["x"]) is None


def test_what_is_no_plain_memory_is_made_so_before_it_is_copied() -> None:
    memory = Memory()
    feed = calibrator.Feed([{"x": np.zeros((2, 3), np.float32).T}], memory.upload)
    assert feed.next(["x"]) == [4096]


def test_no_samples_are_refused() -> None:
    with pytest.raises(JobError, match="no calibration samples"):
        calibrator.Feed([], Memory().upload)


def test_the_ranges_in_a_cache_can_be_read(tmp_path: Path) -> None:
    cache = tmp_path / "calibration.cache"
    bits = np.array(0.0123, ">f4").tobytes().hex()
    cache.write_text(f"TRT-8204-EntropyCalibration2\ninput: 3c010a14\n/conv: 0: {bits}\n")
    ranges = calibrator.read_ranges(cache)
    assert ranges == {"input": pytest.approx(0.00787594), "/conv: 0": pytest.approx(0.0123)}
