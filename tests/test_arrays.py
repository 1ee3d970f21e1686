from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfarm.arrays import read_outputs, read_rows
from modelfarm.errors import ConversionError, RecipeError
from tests.cases import entry

PLAIN = entry("x", (2, 4), layout=None)


def saved(folder: Path, **arrays: Any) -> Path:
    file = folder / "rows.npz"
    np.savez(file, **arrays)
    return file


def test_rows_and_labels_are_read(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(6, 4)
    rows = read_rows(saved(tmp_path, x=values, label=np.arange(6)), [PLAIN], {})
    assert rows.batches == 3
    assert rows.arrays["x"].tolist() == values.tolist()
    assert rows.labels is not None and rows.labels.tolist() == list(range(6))


def test_labels_may_be_absent(tmp_path: Path) -> None:
    assert read_rows(saved(tmp_path, x=np.zeros((2, 4), np.float32)), [PLAIN], {}).labels is None


def test_dynamic_axes_may_have_any_length(tmp_path: Path) -> None:
    file = saved(tmp_path, x=np.zeros((2, 7), np.float32))
    assert read_rows(file, [PLAIN], {"x": {1: "length"}}).batches == 1
    with pytest.raises(RecipeError, match=r"shape \[2, 7\], expected \[rows, 4\]"):
        read_rows(file, [PLAIN], {"x": {0: "batch"}})


@pytest.mark.parametrize(("arrays", "message"), [
    ({"y": np.zeros((2, 4), np.float32)}, "no array for input 'x'; known: y"),
    ({"x": np.zeros((2, 4))}, "array 'x' is float64, but the input is float32"),
    ({"x": np.zeros((2, 4, 1), np.float32)}, r"array 'x' has shape \[2, 4, 1\], expected \[rows, 4\]"),
    ({"x": np.zeros((), np.float32)}, r"array 'x' has shape \[\]"),
    ({"x": np.zeros((0, 4), np.float32)}, "has no rows"),
    ({"x": np.zeros((5, 4), np.float32)}, "has 5 rows: the last 1 do not fill a batch of 2"),
    ({"x": np.full((2, 4), np.nan, np.float32)}, "NaN or infinite"),
    ({"x": np.zeros((2, 4), np.float32), "label": np.zeros(3, int)}, "'label' is int64 \\[3\\], expected one"),
    ({"x": np.zeros((2, 4), np.float32), "label": np.zeros(2)}, "'label' is float64"),
    ({"x": np.array([{}, {}], object)}, "not an .npz file of plain arrays"),
])
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=f"rows.npz.*{message}"):
        read_rows(saved(tmp_path, **arrays), [PLAIN], {})


def test_rows_that_do_not_fill_a_batch_may_be_left_out(tmp_path: Path) -> None:
    values = np.arange(20, dtype=np.float32).reshape(5, 4)
    rows = read_rows(saved(tmp_path, x=values, label=np.arange(5)), [PLAIN], {}, all_rows=False)
    assert rows.batches == 2
    assert rows.arrays["x"][:4].tolist() == values[:4].tolist()


def test_to_leave_rows_out_is_not_to_take_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="has no rows"):
        read_rows(saved(tmp_path, x=np.zeros((0, 4), np.float32)), [PLAIN], {}, all_rows=False)
    with pytest.raises(RecipeError, match=r"expected \[rows, 4\]"):
        read_rows(saved(tmp_path, x=np.zeros((5, 3), np.float32)), [PLAIN], {}, all_rows=False)


def test_inputs_must_have_equally_many_batches(tmp_path: Path) -> None:
    file = saved(tmp_path, x=np.zeros((4, 4), np.float32), y=np.zeros((4, 3), np.float32))
    with pytest.raises(RecipeError, match=r"different numbers of batches \(x: 2, y: 4\)"):
        read_rows(file, [PLAIN, entry("y", (1, 3), layout=None)], {})


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04broken"])
def test_files_that_are_no_archives_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.npz").write_bytes(content)
    with pytest.raises(RecipeError, match=r"rows\.npz: not an \.npz file"):
        read_rows(tmp_path / "rows.npz", [PLAIN], {})


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros(3))
    (tmp_path / "rows.npy").rename(tmp_path / "rows.npz")
    with pytest.raises(RecipeError, match="not an .npz file"):
        read_rows(tmp_path / "rows.npz", [PLAIN], {})


def test_outputs_are_read_by_sample_and_name(tmp_path: Path) -> None:
    file = saved(tmp_path, **{"0/a": np.array([1]), "0/b": np.array([2]), "2/a/b": np.array([3])})
    first, second, third = read_outputs(file, 3)
    assert (first["a"].tolist(), first["b"].tolist()) == ([1], [2])
    assert second == {}
    assert third["a/b"].tolist() == [3]


def test_outputs_that_were_never_written_are_absent_and_damaged_ones_an_error(tmp_path: Path) -> None:
    assert read_outputs(tmp_path / "outputs.npz", 2) == [{}, {}]
    (tmp_path / "outputs.npz").write_bytes(b"PK\x03\x04half")
    with pytest.raises(ConversionError, match=r"damaged outputs\.npz"):
        read_outputs(tmp_path / "outputs.npz", 2)
    with pytest.raises(ConversionError, match=r"damaged rows\.npz"):
        read_outputs(saved(tmp_path, **{"7/a": np.zeros(1)}), 2)
