from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from modelfarm.decoders import classification
from modelfarm.decoders.prediction import Classification
from modelfarm.errors import RecipeError


def decoder(folder: Path = Path(), output: str | None = None, labels: str | None = None,
            activation: str = "none") -> classification.Decoder:
    return classification.Decoder({"output": output, "labels": labels, "activation": activation}, folder)


def test_classes_are_ranked_and_named(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\nbird\n\n")
    scores = np.array([[0.2, 0.7, 0.1], [0, 0, 1]])
    (best,), (other,) = decoder(tmp_path, labels="labels.txt").decode({"p": scores}, [None, None])
    assert best == Classification(ranking=(1, 0, 2), labels=("dog", "cat", "bird"), scores=(0.7, 0.2, 0.1))
    assert isinstance(other, Classification)
    assert other.labels == ("bird", "cat", "dog")  # of equal scores the lower index first


def test_without_labels_a_class_is_its_index_and_five_are_named() -> None:
    (best,), = decoder().decode({"p": np.arange(9.0).reshape(1, 9, 1, 1)}, [None])
    assert isinstance(best, Classification)
    assert best.labels == ("8", "7", "6", "5", "4")


def test_softmax_makes_probabilities_even_of_great_logits() -> None:
    (best,), = decoder(activation="softmax").decode({"p": np.array([[1000.0, 1001.0]])}, [None])
    assert isinstance(best, Classification)
    assert best.scores == pytest.approx((1 / (1 + math.exp(-1)), 1 / (1 + math.e)))


def test_with_softmax_logits_and_probabilities_are_judged_and_without_the_output_by_its_own_scale() -> None:
    outputs = {"p": np.array([[0.0, math.log(3)]])}
    logits, probabilities = decoder(activation="softmax").columns(outputs, (0, 0))
    assert (logits.unit, probabilities.unit) == ("", "score")
    assert probabilities.values.tolist() == [pytest.approx([0.25, 0.75])]
    column, = decoder().columns(outputs, (0, 0))
    assert (column.name, column.unit, column.output) == ("p", "", "p")


def test_a_score_that_is_no_number_is_ranked_last() -> None:
    (best,), = decoder().decode({"p": np.array([[np.nan, 0.1, 0.9]])}, [None])
    assert isinstance(best, Classification)
    assert best.ranking == (2, 1, 0)


def test_of_several_outputs_the_recipe_must_choose() -> None:
    outputs = {"a": np.zeros((1, 2)), "b": np.zeros((1, 2))}
    with pytest.raises(RecipeError, match="2 outputs: a, b"):
        decoder().decode(outputs, [None])
    assert len(decoder(output="b").decode(outputs, [None])) == 1
    with pytest.raises(RecipeError, match="no output 'c'"):
        decoder(output="c").decode(outputs, [None])


def test_labels_must_be_readable_and_as_many_as_classes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.txt: the labels cannot be read"):
        decoder(tmp_path, labels="none.txt")
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    with pytest.raises(RecipeError, match="2 labels, but output 'p' has 3 classes"):
        decoder(tmp_path, labels="labels.txt").decode({"p": np.zeros((1, 3))}, [None])
