"""Graphs made and remade by the onnx toolchain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from jobfolder import data_folder


@pytest.fixture(scope="module")
def found(script: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return script("graphs", tmp_path_factory.mktemp("graphs"), *data_folder())


def refusal(found: Any, name: str, kind: str) -> str:
    assert found[name]["class"] == kind, found[name]
    assert found[name]["remedy"]
    assert not [file for file in found[name]["left"] if file.startswith("work")]
    return str(found[name]["message"])


# The lowest IR version for an opset: https://onnx.ai/onnx/repo-docs/Versioning.html
@pytest.mark.parametrize(("opset", "ir"), [(9, 4), (11, 6), (12, 7), (17, 8), (23, 11)])
def test_the_file_has_the_opset_asked_for_and_its_lowest_ir_version(found: Any, opset: int, ir: int) -> None:
    got = found[f"opset {opset}"]
    assert (got["opset"], got["ir"]) == ([opset], ir)
    assert (got["facts"]["opset"], got["facts"]["ir_version"]) == (opset, ir)
    assert got["error"] < 1e-6
    assert got["files"] == ["model.onnx"]
    assert got["left"] == ["events.jsonl", "model.onnx"]


def test_the_opset_of_a_pytorch_source_is_17_unless_the_recipe_says(found: Any) -> None:
    assert found["opset unsaid"]["opset"] == [17]


@pytest.mark.parametrize("opset", [8, 24])
def test_an_opset_out_of_range_is_refused(found: Any, opset: int) -> None:
    assert refusal(found, f"opset {opset}", "OptionError") == f"opset {opset} is not supported"


def test_two_conversions_give_equal_bytes_and_facts(found: Any) -> None:
    assert found["again"]["digest"] == found["opset 12"]["digest"]
    assert found["again"]["facts"] == found["opset 12"]["facts"]
    assert found["opset 12"]["digest"] != found["opset 11"]["digest"]
    assert found["again"]["strings"] == 0


def test_facts_tell_of_the_exporter_and_of_the_weights(found: Any) -> None:
    facts = found["opset 12"]["facts"]
    assert facts["exporter"].startswith("torch 2.") and facts["exporter"].endswith(", torchscript exporter")
    # By hand: a convolution 4x3x3x3 + 4, a normalisation 4 + 4, a linear layer 3x4 + 3.
    assert facts["parameters"] == 108 + 4 + 8 + 15
    assert facts["nodes"]["Conv"] == 1 and facts["nodes"]["Softmax"] == 1
    assert facts["weights"]["reader"] == "torch, weights only"


def test_inputs_and_outputs_have_the_names_of_the_recipe(found: Any) -> None:
    got = found["two outputs"]
    assert got["inputs"] == {"picture": [1, 3, 8, 8]}
    assert got["outputs"] == {"logits": [1, 3], "features": [1, 4]}
    assert got["error"] < 1e-6
    assert got["device"] == "cpu"


def test_outputs_without_a_name_are_counted(found: Any) -> None:
    assert "gives 2 outputs; the recipe names logits" in refusal(found, "one name for two outputs", "SourceError")


def test_a_model_that_returns_a_dictionary_is_refused(found: Any) -> None:
    assert "returns a dict" in refusal(found, "dictionary", "SourceError")


def test_random_weights_follow_the_seed(found: Any) -> None:
    assert found["random"]["digest"] == found["random again"]["digest"]
    assert found["random"]["digest"] != found["random, other seed"]["digest"]
    assert found["random"]["facts"]["weights"] == "random"


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("wrong name", "SourceError", ["no factory 'tini'", "did you mean tiny"]),
        ("wrong argument", "SourceError", ["tiny(widht=8)", "unexpected keyword argument 'widht'"]),
        ("failing", "SourceError", ["failing() failed at line", "ValueError: no luck"]),
        ("no module", "SourceError", ["no_module() made a int"]),
        ("syntax", "SourceError", ["syntax.py failed at line 3"]),
        ("imports", "SourceError", ["imports.py failed at line 2", "no_such_package"]),
        ("wider", "CheckpointError", ["head.weight: checkpoint (3, 4), model (3, 8)"]),
        ("no such axis", "OptionError", ["picture has no axis 4"]),
        ("no such input", "OptionError", ["'image'"]),
    ],
)
def test_a_wrong_source_is_refused_with_what_is_wrong(found: Any, name: str, kind: str, words: list[str]) -> None:
    message = refusal(found, name, kind)
    assert all(word in message for word in words), message


def test_a_factory_with_a_wrong_argument_shows_its_signature(found: Any) -> None:
    assert "width" in found["wrong argument"]["remedy"]


def test_an_operator_that_an_old_opset_lacks_is_named(found: Any) -> None:
    assert "aten::grid_sampler" in refusal(found, "sampled 12", "GraphError")
    assert found["sampled 16"]["error"] < 1e-5


def test_a_free_batch_gives_what_single_pictures_and_eager_give(found: Any) -> None:
    assert found["free batch"]["inputs"] == {"picture": ["batch", 3, 8, 8]}
    assert found["free batch"]["outputs"] == {"scores": ["batch", 3]}
    from_eager, from_single = found["batches"]
    assert from_eager < 1e-6 and from_single < 1e-6


def test_a_batch_that_is_a_constant_inside_cannot_be_free(found: Any) -> None:
    message = refusal(found, "free batch fixed inside", "OptionError")
    assert "scores is [1, 3] for one batch and [1, 3] for two" in message
    assert found["fixed batch"]["outputs"] == {"scores": [1, 3]}


def test_simplification_drops_nodes_and_can_be_switched_off(found: Any) -> None:
    simplified, kept = found["redundant"], found["redundant, kept"]
    counts = simplified["facts"]["simplified"]
    assert counts["after"] == sum(simplified["facts"]["nodes"].values())
    assert counts["after"] < counts["before"] == sum(kept["facts"]["nodes"].values())
    assert "simplified" not in kept["facts"]
    assert max(simplified["error"], kept["error"]) < 1e-6


@pytest.mark.parametrize(
    ("simplifier", "word"),
    [
        ("broken", "changes the output 'scores' on sample 0"),
        ("renaming", "lost the output 'scores'"),
        ("raising", "failed: KeyError"),
        ("nothing", "gave nothing"),
    ],
)
def test_a_simplification_that_is_not_equivalent_is_refused(found: Any, simplifier: str, word: str) -> None:
    kind, message, remedy = found[simplifier]
    assert kind == "GraphError" and word in message and "simplify: false" in remedy
    assert found["deepcopy"] is None


def test_a_wrong_score_does_not_hide_behind_pixels(found: Any) -> None:
    differences = found["differences"]
    assert differences["equal"] == 0 and differences["same NaN"] == 0 and differences["other NaN"] is True
    assert differences["a score by 0.001"] > 1 > differences["a pixel by 0.001"] > 0
    assert differences["one step of int8"] > 1


def test_weights_above_the_limit_go_into_a_file_of_their_own(found: Any) -> None:
    got = found["large"]
    assert got["files"] == ["model.onnx", "model.onnx.data"]
    assert got["left"] == ["events.jsonl", "model.onnx", "model.onnx.data"]
    assert got["error"] < 1e-6


def test_no_file_is_promised_for_weights_that_are_all_small(found: Any) -> None:
    assert found["large, but small weights"]["files"] == ["model.onnx"]


def test_the_opset_of_an_onnx_source_is_kept_unless_the_recipe_says(found: Any) -> None:
    assert found["kept"]["opset"] == [13] and found["raised"]["opset"] == [17]
    assert found["kept"]["facts"]["source"] == {"opset": 13, "ir_version": 7}
    assert found["kept"]["error"] == found["raised"]["error"] == 0


def test_a_nameless_batch_of_an_onnx_source_gets_the_size_of_the_recipe(found: Any) -> None:
    assert (found["kept"]["inputs"], found["kept"]["outputs"]) == ({"x": [1, 3]}, {"y": [1, 3]})


def test_a_batch_of_an_onnx_source_can_be_free_where_its_graph_allows_it(found: Any) -> None:
    assert found["kept free"]["outputs"] == {"y": ["batch", 3]}
    assert "its own batch only" in refusal(found, "pinned, free", "OptionError")
    assert found["pinned"]["error"] == 0


def test_an_older_opset_is_proven_and_the_facts_say_how(found: Any) -> None:
    lowered, written = found["lowered"], found["written out"]
    assert (lowered["opset"], lowered["ir"], lowered["error"]) == ([11], 6, 0)
    assert lowered["facts"]["lowered"] == [
        "opset: 13 becomes 11",
        "opset: no difference on 3 samples; allowed: bit for bit",
    ]
    assert written["opset"] == [12] and written["error"] < 1e-6 and written["outputs"] == {"y": ["batch", 3]}
    assert "opset: Mish y of opset 18 is written in the older form" in written["facts"]["lowered"]
    assert "Mish" not in written["facts"]["nodes"] and "lowered" not in found["raised"]["facts"]


def test_a_conversion_without_a_way_names_the_node(found: Any) -> None:
    assert refusal(found, "impossible", "GraphError") == (
        "the graph has opset 13 and cannot become opset 11: "
        "Einsum sum_rows cannot become opset 11: there is no such operator yet"
    )
    assert "cannot become opset 10: Resize up cannot" in refusal(found, "another meaning", "GraphError")
    assert found["impossible"]["remedy"].startswith("leave out the opset in the recipe, which keeps 13")
    kind, message, remedy = found["raised too far"]
    assert kind == "GraphError" and "export the model anew" in remedy
    assert message.endswith("cannot become opset 13: the operator RNN cannot be carried over at opset 6")


def test_constants_do_not_stand_in_the_way_of_an_older_opset(found: Any) -> None:
    assert found["constant lowered"]["opset"] == [11] and found["constant lowered"]["error"] == 0


@pytest.mark.parametrize(
    ("name", "kind", "word"),
    [
        ("truncated", "SourceError", "is damaged, truncated or no ONNX file (39 bytes)"),
        ("text", "SourceError", "no ONNX file"),
        ("no nodes", "SourceError", "an empty one"),
        ("wrong inside", "GraphError", "Incompatible dimensions"),
        ("unknown operator", "GraphError", "Reelu"),
        ("without its data", "GraphError", "gone.bin"),
        ("other names", "GraphError", "the outputs of the model are y; the recipe names z"),
        ("other shape", "GraphError", "the input x of the model is [1, 4]; the recipe has [1, 3]"),
        ("other rank", "GraphError", "the input x of the model is [1, 1, 3]; the recipe has [1, 3]"),
    ],
)
def test_a_wrong_onnx_file_is_refused_with_what_is_wrong(found: Any, name: str, kind: str, word: str) -> None:
    assert word in refusal(found, name, kind)


def test_weights_are_no_longer_inputs(found: Any) -> None:
    got = found["weights as inputs"]
    assert got["listed inputs"] == ["x"] and got["ir"] == 4 and got["error"] == 0


def test_a_real_detector_keeps_its_opset_or_gets_another_with_a_free_batch(found: Any, data: object) -> None:
    kept, free = found["ultraface"], found["ultraface free 12"]
    assert kept["opset"] == [9] and kept["error"] < 1e-5
    assert free["opset"] == [12] and free["error"] < 1e-5
    assert free["outputs"] == {"scores": ["batch", 4420, 2], "boxes": ["batch", 4420, 4]}


def test_a_quantised_classifier_passes_unchanged_and_cannot_be_older(found: Any, data: object) -> None:
    assert found["shufflenet"]["error"] == 0 and found["shufflenet"]["opset"] == [12]
    assert found["shufflenet"]["domains"] == ["", "com.microsoft"]
    assert "MaxPool_3_quant" in refusal(found, "shufflenet 11", "GraphError")


def test_a_real_graph_goes_one_opset_back_but_has_its_batch_fixed(found: Any, data: object) -> None:
    assert found["heads 11"]["opset"] == [11] and found["heads 11"]["error"] < 1e-3
    assert found["heads 11"]["outputs"]["stride_8"] == [1, 3, 80, 80, 16]
    assert "its own batch only" in refusal(found, "heads free", "OptionError")
