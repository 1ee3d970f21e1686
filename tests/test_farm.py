"""The farm: what each task does, on a store and with a toolchain of its own."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace

import pytest

from modelfarm.console import Console
from modelfarm.errors import ArtifactError, RecipeError, UsageError
from modelfarm.farm import Farm, only
from modelfarm.plan import Request
from tests.toys import ToyFarm, Toys


def convert(toys: Toys, models: str = "toy", jobs: int = 1, **request: str) -> tuple[int, str]:
    """Convert as the task does; return the exit code and what was printed."""
    stream = io.StringIO()
    farm = ToyFarm(replace(toys.settings, jobs=jobs))
    return farm.convert("toy", models, Request(**request), Console(stream, live=False)), stream.getvalue()


def said(toys: Toys, task: str, *words: str) -> list[str]:
    """Run another task; return its lines."""
    stream = io.StringIO()
    getattr(toys.farm, task)(*words, Console(stream, live=False))
    return stream.getvalue().splitlines()


def versions(toys: Toys, model: str = "toy", variant: str = "toy") -> set[str]:
    return {path.name for path in (toys.settings.artifacts / model / variant).iterdir()} - {"latest"}


def test_a_conversion_ends_with_zero_and_an_artifact(toys: Toys) -> None:
    code, out = convert(toys)
    assert code == 0
    artifact = toys.farm.artifact("toy", "toy")
    assert str(artifact.path("model.toy")) in out
    assert json.loads(artifact.path("model.toy").read_text()) == {"gain": 2}


def test_several_models_or_all_are_converted_once_each(toys: Toys) -> None:
    toys.model("a")
    toys.model("b")
    assert convert(toys, " b, toy ,b")[0] == 0
    assert not (toys.settings.artifacts / "a").exists()
    code, out = convert(toys, "all", jobs=2)
    assert code == 0
    assert (out.count("  cached"), out.count("  new")) == (2, 1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_code_is_that_of_the_first_failure_and_the_others_go_on(toys: Toys, capsys: pytest.CaptureFixture[str],
                                                                   jobs: int) -> None:
    toys.model("a", error=1)
    toys.model("b", refuse="no")
    code, out = convert(toys, "all", jobs=jobs)
    assert code == 6
    assert "  toy    toy      " in out
    assert capsys.readouterr().err.count("modelfarm: ") == 2


def test_what_cannot_be_planned_stops_nothing_else(toys: Toys, capsys: pytest.CaptureFixture[str]) -> None:
    toys.model("a", more="nonsense: 1")
    (toys.model("b") / "toy.pt").unlink()
    code, out = convert(toys, "all")
    assert code == 3
    assert out.count("  new") == 1
    err = capsys.readouterr().err
    assert "modelfarm: a: " in err
    assert "modelfarm: b: toy.pt was not found" in err


def test_wrong_words_stop_everything_before_it_starts(toys: Toys) -> None:
    given = toys.folder / "given.pt"
    given.write_text('{"gain": 5}')
    toys.model("a")
    for target, models, request, words in [
            ("toy", "toy,tooy", Request(), "there is no model 'tooy'"), ("toy", "", Request(), "which model?"),
            ("tyo", "toy", Request(), "there is no target 'tyo'; did you mean toy?"),
            ("toy", "a,toy", Request(weights=str(given)), "WEIGHTS= names one file")]:
        with pytest.raises(UsageError, match=words):
            toys.farm.convert(target, models, request, Console(io.StringIO()))
    assert not toys.settings.artifacts.exists()


def test_given_weights_take_the_place_of_the_recipes(toys: Toys) -> None:
    given = toys.folder / "given.pt"
    given.write_text('{"gain": 5}')
    assert convert(toys, weights=str(given))[0] == 0
    assert json.loads(toys.farm.artifact("toy", "toy").path("model.toy").read_text()) == {"gain": 5}


def test_random_weights_and_options_leave_the_latest_alone(toys: Toys) -> None:
    convert(toys)
    before = toys.farm.artifact("toy", "toy")
    assert convert(toys, weights="random", options="rounds=2")[0] == 0
    assert toys.farm.artifact("toy", "toy") == before
    assert toys.farm.artifact("toy", "toy-rounds2-random").manifest != before.manifest


def test_options_that_change_nothing_find_the_artifact(toys: Toys) -> None:
    convert(toys)
    code, out = convert(toys, options="rounds=1")
    assert (code, out.count("  cached")) == (0, 1)
    assert {path.name for path in (toys.settings.artifacts / "toy").iterdir()} == {"toy"}


def test_an_artifact_that_is_not_there_or_damaged_is_an_error(toys: Toys) -> None:
    with pytest.raises(ArtifactError, match="toy has no toy-fp16 artifact yet") as caught:
        toys.farm.artifact("toy", "toy-fp16")
    assert caught.value.remedy == "make toy MODEL=toy"
    convert(toys)
    toys.farm.artifact("toy", "toy").path("model.toy").write_text("{}")
    with pytest.raises(ArtifactError, match="model.toy has"):
        toys.farm.artifact("toy", "toy")
    with pytest.raises(UsageError, match="there is no model 'tyo' in"):
        toys.farm.artifact("tyo", "toy")


def test_one_model_at_a_time() -> None:
    assert only(["a"]) == "a"
    with pytest.raises(UsageError, match="one model at a time, not 2"):
        only(["a", "b"])


def test_models_are_listed_with_their_files_and_problems(toys: Toys) -> None:
    toys.model("a", more="nonsense: 1")
    (toys.model("b") / "toy.pt").unlink()
    heading, a, b, toy = said(toys, "list_models")
    assert heading.split() == ["model", "source", "targets", "files", "description"]
    assert "1 problem" in a
    assert b.split()[:4] == ["b", "torch", "toy", "missing"]
    assert toy.split() == ["toy", "torch", "toy", "here", "a", "toy", "called", "toy"]


def test_a_target_with_no_options_of_its_own_is_listed_all_the_same(toys: Toys) -> None:
    """The recipe says `targets: {toy: {}}`: it is one of its targets."""
    (_, row) = said(toys, "list_models")
    assert row.split()[2] == "toy"


def test_listing_models_downloads_nothing(toys: Toys) -> None:
    recipe = toys.settings.models / "toy" / "model.yaml"
    recipe.write_text(recipe.read_text().replace("{file: toy.pt}", "{file: no.pt, url: 'http://127.0.0.1:9/no.pt', "
                                                                   f"sha256: {'0' * 64}}}"))
    (_, row) = said(toys, "list_models")
    assert "missing" in row


def test_gc_keeps_the_newest_and_the_latest(toys: Toys) -> None:
    found = []
    for gain in (3, 4, 5):
        toys.model(gain=gain)
        convert(toys)
        found.append(toys.farm.artifact("toy", "toy"))
        os.utime(found[-1].path("manifest.json"), (gain * 1000, gain * 1000))
    toys.model(gain=3)
    convert(toys)  # the oldest is the latest again
    lines = said(toys, "collect", "1")
    assert lines[-1] == "  1 removed"
    assert found[1].version in lines[0]
    assert versions(toys) == {found[0].version, found[2].version}
    with pytest.raises(UsageError, match="KEEP=0"):
        toys.farm.collect("0", Console(io.StringIO()))


def test_clean_removes_failures_and_leftovers_and_no_artifact(toys: Toys) -> None:
    convert(toys)
    toys.model("bad", error=1)
    convert(toys, "bad")
    left = toys.settings.artifacts / ".staging" / "1-abc"
    left.mkdir()
    lines = said(toys, "clean")
    assert lines[-1].startswith("  1 failures removed")
    assert not list((toys.settings.artifacts / "failed").glob("*/*/*"))
    assert not left.exists()
    assert toys.farm.artifact("toy", "toy")
    assert said(toys, "clean")[-1].startswith("  0 failures removed")


def test_the_schema_names_every_target(toys: Toys) -> None:
    assert list(toys.farm.options) == ["toy"]
    assert "onnx" in Farm(toys.settings).options


def test_a_recipe_is_read_with_the_options_of_the_farms_targets(toys: Toys) -> None:
    recipe = toys.settings.models / "toy" / "model.yaml"
    recipe.write_text(recipe.read_text().replace("{toy: {}}", "{toy: {rounds: 0}}"))
    with pytest.raises(RecipeError, match="at least 1"):
        toys.farm.recipe("toy")
