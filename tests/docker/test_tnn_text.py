"""The text files of TNN's test program."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from jobkit import GraphError
from tnntoys import textfile


def test_numbers_are_read_again_as_they_were_in_their_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    array = (rng.standard_normal((1, 3, 5, 7)) * 10.0 ** rng.integers(-30, 30, (1, 3, 5, 7))).astype(np.float32)
    textfile.write_numbers(tmp_path / "in.txt", array)
    words = (tmp_path / "in.txt").read_text().split()
    assert np.array_equal(np.array(words, np.float32), array.ravel())


def test_an_array_that_is_no_plain_memory_is_written_in_the_order_of_its_axes(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float64).reshape(2, 3).T
    textfile.write_numbers(tmp_path / "in.txt", array)
    assert (tmp_path / "in.txt").read_text().split() == ["0", "3", "1", "4", "2", "5"]


def test_parts_make_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfile, "PART", 4)
    textfile.write_numbers(tmp_path / "in.txt", np.arange(9))
    assert (tmp_path / "in.txt").read_text() == "".join(f"{index}\n" for index in range(9))


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_an_input_that_is_not_finite_is_refused(tmp_path: Path, number: float) -> None:
    with pytest.raises(GraphError, match="no finite number"):
        textfile.write_numbers(tmp_path / "in.txt", np.array([1, number], np.float32))


def test_a_picture_of_640_is_written_and_read_in_a_moment(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).random((1, 3, 640, 640), dtype=np.float32)
    began = time.perf_counter()
    textfile.write_numbers(tmp_path / "in.txt", picture)
    text = (tmp_path / "in.txt").read_text()
    (tmp_path / "out.txt").write_text(f"1\npicture mat_type: 32 dims: 4 1 3 640 640 \n{text}")
    found = textfile.read_outputs(tmp_path / "out.txt")["picture"]
    # Line by line in Python, and with numpy's own savetxt, either half alone takes longer on an idle machine.
    assert time.perf_counter() - began < 6
    assert np.array_equal(found, picture)


A, B = "a mat_type: 32 dims: 2 1 2 \n", "b mat_type: 32 dims: 1 3\n"
A_VALUES, B_VALUES = "1.000000\n-2.500000\n", "0.100000\n0.200000\n0.300000"
INTERLEAVED = f"2\n{A}{A_VALUES}{B}{B_VALUES}\n"
TOGETHER = f"2\n{A}{B}{A_VALUES}{B_VALUES}"


@pytest.mark.parametrize("text", [INTERLEAVED, TOGETHER])
def test_outputs_have_their_names_and_shapes_wherever_their_values_stand(tmp_path: Path, text: str) -> None:
    (tmp_path / "out.txt").write_text(text)
    found = textfile.read_outputs(tmp_path / "out.txt")
    assert list(found) == ["a", "b"]
    assert found["a"].tolist() == [[1.0, -2.5]] and found["a"].dtype == np.float32
    assert np.allclose(found["b"], [0.1, 0.2, 0.3])


def test_names_may_be_numbers_or_paths_or_hold_blanks(tmp_path: Path) -> None:
    names = ["905", "/model/Concat_output_0", "a name", "x mat_type: 1"]
    lines = [line for name in names for line in (f"{name} mat_type: 32 dims: 1 1", "1.000000")]
    (tmp_path / "out.txt").write_text("\n".join(["4", *lines]))
    assert list(textfile.read_outputs(tmp_path / "out.txt")) == names


def test_what_is_no_number_to_a_gate_is_read_as_such(tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("1\ny mat_type: 32 dims: 1 4\nnan\n-nan\ninf\n-inf\n")
    nan, other, positive, negative = textfile.read_outputs(tmp_path / "out.txt")["y"].tolist()
    assert nan != nan and other != other and (positive, negative) == (np.inf, -np.inf)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "begins with b''"),
        ("0\n", "describes 0 outputs"),
        ("2\ny mat_type: 32 dims: 1 1\n1.0\n", "describes 1 outputs"),
        ("y mat_type: 32 dims: 1 1\n1.0\n", "describes 0 outputs"),
        ("1\ny mat_type: 32 dims: 1 3\n1.0\n2.0\n", "2 values; its headers promise 3"),
        ("1\ny mat_type: 32 dims: 1 1\n1.0\n2.0\n", "2 values; its headers promise 1"),
        ("1\ny mat_type: 32 dims: 2 3\n1.0\n2.0\n3.0\n", "the header of an output"),
        ("1\ny mat_type: 32 dims: 1 3\n1.0\nE/tnn: something\n3.0\n", "something that is no number"),
    ],
)
def test_a_file_that_is_cut_off_or_another_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "out.txt").write_text(text)
    with pytest.raises(GraphError) as caught:
        textfile.read_outputs(tmp_path / "out.txt")
    assert words in caught.value.message and caught.value.remedy
