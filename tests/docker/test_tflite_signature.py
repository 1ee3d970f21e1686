"""The tensors of a .tflite file against the recipe: integers, layouts, names. Golden values are worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from jobkit import GraphError
from tfliteparts import Held, dequantised, match, port, ports, quantised

BYTE = Held("x", (1, 6), "uint8", 0.5, 10)


def test_integers_are_rounded_half_away_from_zero_and_clipped() -> None:
    values = np.array([[0.0, 0.25, -0.25, 0.74, 200.0, -200.0]], np.float32)
    assert quantised(values, BYTE).tolist() == [[10, 11, 9, 11, 255, 0]]
    assert quantised(values, BYTE).dtype == np.uint8
    signed = Held("x", (1, 6), "int8", 0.5, -1)
    assert quantised(values, signed).tolist() == [[-1, 0, -2, 0, 127, -128]]


def test_integers_stand_for_their_distance_to_the_zero_point() -> None:
    values = dequantised(np.array([0, 10, 255], np.uint8), BYTE)
    assert values.tolist() == [-5.0, 0.0, 122.5] and values.dtype == np.float32
    plain = np.array([1, 2], np.int64)
    assert dequantised(plain, Held("x", (2,), "int64")) is plain


def test_a_file_with_channels_last_gets_its_arrays_turned_and_gives_them_back() -> None:
    found = port("x", Held("x", (1, 4, 5, 3), "float32"), (1, 3, 4, 5), "NCHW")
    assert (found.layout, found.tensor.layout) == ("NHWC", "NHWC")
    array = np.arange(60, dtype=np.float32).reshape(1, 3, 4, 5)
    turned = found.into_file(array)
    assert turned.shape == (1, 4, 5, 3) and turned[0, 1, 2, 0] == array[0, 0, 1, 2]
    np.testing.assert_array_equal(found.out_of_file(turned), array)


def test_a_file_with_the_recipes_order_stays() -> None:
    found = port("x", Held("x", (1, 3, 4, 5), "float32"), (1, 3, 4, 5), "NCHW")
    assert (found.layout, found.axes) == ("NCHW", None)


def test_axes_of_one_do_not_count() -> None:
    found = port("y", Held("y", (4, 2), "float32"), (1, 4, 2), None)
    assert found.out_of_file(np.zeros((4, 2), np.float32)).shape == (1, 4, 2)
    # One channel: the same numbers in the same order, whichever the layout says.
    one = port("x", Held("x", (1, 8, 8, 1), "float32"), (1, 1, 8, 8), "NCHW")
    assert one.into_file(np.ones((1, 1, 8, 8), np.float32)).shape == (1, 8, 8, 1)


def test_a_shape_that_fits_both_layouts_is_refused_unless_the_way_decides() -> None:
    cube = Held("x", (1, 3, 3, 3), "float32")
    with pytest.raises(GraphError, match="both orders of axes fit"):
        port("x", cube, (1, 3, 3, 3), "NCHW")
    assert port("x", cube, (1, 3, 3, 3), "NCHW", "NCHW").axes is None
    assert port("x", cube, (1, 3, 3, 3), "NCHW", "NHWC").axes == (0, 2, 3, 1)


def test_an_input_with_channels_last_in_the_recipe_is_not_turned() -> None:
    assert port("x", Held("x", (1, 4, 5, 3), "float32"), (1, 4, 5, 3), "NHWC").axes is None
    with pytest.raises(GraphError, match="the recipe says"):
        port("x", Held("x", (1, 3, 4, 5), "float32"), (1, 4, 5, 3), "NHWC")


def test_a_shape_that_fits_nothing_is_refused() -> None:
    with pytest.raises(GraphError, match=r"as \[1, 7\]; the recipe says \[1, 6\]"):
        port("x", Held("x", (1, 7), "float32"), (1, 6), None)


def test_an_array_of_another_shape_is_refused() -> None:
    with pytest.raises(GraphError, match=r"the shape \[2, 6\], and the file takes \[1, 6\]"):
        port("x", BYTE, (1, 6), None).into_file(np.zeros((2, 6), np.float32))


def test_tensors_are_found_by_name_never_by_place() -> None:
    held = [Held("boxes", (1, 4), "float32"), Held("scores", (1, 4), "float32")]
    assert [item.held.key for item in ports({"scores": (None, None), "boxes": (None, None)}, held, "output", "")] == [
        "scores", "boxes"]
    assert match(["anything"], held[:1], "output")["anything"].key == "boxes"
    with pytest.raises(GraphError, match="no output 'score'; it has 'boxes', 'scores'"):
        match(["score", "boxes"], held, "output")
    with pytest.raises(GraphError, match="one name"):
        match(["boxes"], [held[0], held[0]], "output")
