"""Plans: what changes the key, what does not, and how variants are named."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm.digest import Digests, key_of
from modelfarm.errors import MachineError, RecipeError, UsageError
from modelfarm.lookup import Lookup
from modelfarm.plan import Planner, Request, parse_models
from modelfarm.recipe import read_recipe
from modelfarm.runners import VenvRunner
from modelfarm.settings import ROOT
from tests.workshop import RECIPE, TARGET, Workshop, make_workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return make_workshop(tmp_path)


def test_a_job_holds_all_that_goes_into_it(workshop: Workshop) -> None:
    job = workshop.job()
    assert (job.name, job.variant, job.precision) == ("toy/toy-fp32", "toy-fp32", "fp32")
    assert (job.runner, job.random_weights, job.golden_waived) == ("venv", False, False)
    assert job.options == {"opset": 12, "simplify": True, "way": "fast", "room": 1 << 30, "dynamic": {},
                           "edit": {}}
    assert [(material.role, material.name) for material in job.materials] == [
        ("module", "toy.py"), ("weights", "toy.pt"), ("pictures", "a.png"), ("pictures", "b.png"), ("arrays", "c.npz"),
        ("labels", "labels.txt")]
    for material in job.materials:
        printed = subprocess.run(["sha256sum", material.path], capture_output=True, text=True, check=True).stdout
        assert material.sha256 == printed.split()[0]
    assert job.key == key_of(job.identity)
    assert re.fullmatch("[0-9a-f]{64}", job.key)


def test_the_identity_is_plain_json_without_paths_and_times(workshop: Workshop) -> None:
    text = json.dumps(workshop.job().identity, allow_nan=False)
    assert str(workshop.folder) not in text
    assert "a toy" not in text


def test_the_key_is_the_same_in_another_process_and_in_another_place(workshop: Workshop, tmp_path: Path) -> None:
    key = workshop.job().key
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(workshop.folder, elsewhere, ignore=shutil.ignore_patterns("elsewhere", "cache"))
    code = ("import sys; from pathlib import Path; from tests.workshop import Workshop\n"
            "print(Workshop(Path(sys.argv[1])).job().key)")
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    done = subprocess.run([sys.executable, "-c", code, elsewhere], cwd=ROOT, env=environment, capture_output=True,
                          text=True, check=True)
    assert done.stdout.strip() == key


@pytest.mark.parametrize("harmless", [
    lambda shop: shop.recipe("description: a toy", "description: another"),
    lambda shop: shop.recipe("description: a toy", "# a remark"),
    lambda shop: shop.recipe("opset: 12", "opset: 12, simplify: true"),
    lambda shop: shop.recipe("scale: 1/255", "scale: 1/255, resize: stretch"),
    lambda shop: shop.recipe("{file: toy.pt}", "{file: toy.pt, url: 'https://example.org/x'}"),
    lambda shop: [os.utime(file, (1, 1)) for file in shop.model.iterdir()],
    lambda shop: (shop.model / "notes.txt").write_text("notes"),
    lambda shop: (shop.model / "toy.pt").rename(shop.folder / "data" / "toy.pt"),
    lambda shop: (shop.folder / "docker" / "toy" / "README.md").write_text("words"),
], ids=["description", "remark", "default", "default of a picture", "url", "times", "another file", "place", "readme"])
def test_what_cannot_change_the_result_keeps_the_key(workshop: Workshop,
                                                     harmless: Callable[[Workshop], object]) -> None:
    (workshop.folder / "data").mkdir()
    before = workshop.job().key
    harmless(workshop)
    assert workshop.job().key == before


CHANGES: dict[str, Callable[[Workshop], object]] = {
    "weights": lambda shop: (shop.model / "toy.pt").write_bytes(b"other weights"),
    "module": lambda shop: (shop.model / "toy.py").write_text("def build():\n    return 1\n"),
    "factory": lambda shop: shop.recipe("factory: build", "factory: make"),
    "arguments": lambda shop: shop.recipe("{classes: 2}", "{classes: 3}"),
    "arguments' type": lambda shop: shop.recipe("{classes: 2}", "{classes: 2.0}"),
    "no arguments": lambda shop: shop.recipe("arguments: {classes: 2}, ", ""),
    "option": lambda shop: shop.recipe("opset: 12", "opset: 11"),
    "option left out": lambda shop: shop.recipe("{opset: 12}", "{}"),
    "precision": lambda shop: shop.recipe("opset: 12", "opset: 12, precision: fp16"),
    "input": lambda shop: shop.recipe("[1, 3, 8, 8]", "[1, 3, 8, 9]"),
    "preprocessing": lambda shop: shop.recipe("scale: 1/255", "scale: 1/256"),
    "output": lambda shop: shop.recipe("[scores]", "[score]"),
    "decoder": lambda shop: shop.recipe("labels: labels.txt", "labels: labels.txt, activation: softmax"),
    "no decoder": lambda shop: shop.recipe("decoder: {classification: {labels: labels.txt}}\n", ""),
    "labels": lambda shop: (shop.model / "labels.txt").write_text("dog\ncat\n"),
    "pictures": lambda shop: shop.recipe('"*.png"', '"a.png"'),
    "another picture": lambda shop: (shop.model / "d.png").write_text("d"),
    "a picture's content": lambda shop: (shop.model / "a.png").write_text("other"),
    "an array's content": lambda shop: (shop.model / "c.npz").write_text("other"),
    "random samples": lambda shop: shop.recipe("random: 1", "random: 2"),
    "seed": lambda shop: shop.recipe("random: 1", "random: 1, seed: 1"),
    "expectation": lambda shop: shop.recipe("top1: cat", "top1: dog"),
    "limits": lambda shop: shop.recipe("targets:", "limits: [{unit: px, limit: 1, because: x}]\ntargets:"),
    "lock file": lambda shop: (shop.folder / "docker" / "toy" / "requirements.txt").write_text("toy==2\n"),
    "converter": lambda shop: (shop.folder / "docker" / "toy" / "converter.py").write_text("x = 2\n"),
    "jobkit": lambda shop: (shop.folder / "docker" / "jobkit" / "job.py").write_text("x = 2\n"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_can_change_the_result_changes_the_key(workshop: Workshop, change: Callable[[Workshop], object]) -> None:
    before = workshop.job().key
    change(workshop)
    assert workshop.job().key != before


def test_each_request_has_a_key_and_a_variant_of_its_own(workshop: Workshop) -> None:
    (workshop.folder / "other.pt").write_bytes(b"other")
    requests = [{}, {"weights": "random"}, {"weights": str(workshop.folder / "other.pt")}, {"options": "opset=11"},
                {"options": "opset=0"}, {"options": "simplify=false"}, {"expect": "none"}]
    jobs = [workshop.job(**request) for request in requests]
    assert len({job.key for job in jobs}) == len(jobs)
    assert [job.variant for job in jobs] == ["toy-fp32", "toy-fp32-random", "toy-fp32", "toy-fp32-opset11",
                                             "toy-fp32-opset0", "toy-fp32-simplify-none", "toy-fp32"]
    assert [job.random_weights for job in jobs].count(True) == 1
    assert [job.golden_waived for job in jobs] == [False] * 6 + [True]


def test_random_weights_need_no_file(workshop: Workshop) -> None:
    (workshop.model / "toy.pt").unlink()
    job = workshop.job(weights="random")
    assert job.having("weights") == ()
    assert job.identity["weights"] == "random"


def test_given_weights_take_the_place_of_the_recipes(workshop: Workshop) -> None:
    given = workshop.folder / "best.pt"
    given.write_bytes(b"best")
    (weights,) = workshop.job(weights=str(given)).having("weights")
    assert weights.path == given


def test_given_weights_that_do_not_exist_are_a_usage_error(workshop: Workshop) -> None:
    with pytest.raises(UsageError, match=re.escape("WEIGHTS=/nowhere/best.pt: does not exist")):
        workshop.job(weights="/nowhere/best.pt")


def test_a_source_file_is_a_material_and_can_be_given(workshop: Workshop) -> None:
    torch = RECIPE[RECIPE.index("  torch:"):RECIPE.index("inputs:")]
    workshop.recipe(torch, "  onnx: {file: toy.pt}\n")
    (source,) = workshop.job().having("source")
    assert source.name == "toy.pt"
    assert workshop.job().identity["source"] == {"kind": "onnx"}
    (given,) = workshop.job(weights=str(workshop.model / "a.png")).having("source")
    assert given.name == "a.png"
    with pytest.raises(UsageError, match="WEIGHTS=random needs an architecture; toy is made from a file"):
        workshop.job(weights="random")


def test_a_source_that_the_target_does_not_read_is_a_usage_error(workshop: Workshop) -> None:
    torch = RECIPE[RECIPE.index("  torch:"):RECIPE.index("inputs:")]
    workshop.recipe(torch, "  tflite: {file: toy.pt}\n")
    with pytest.raises(UsageError, match="target toy cannot read a tflite source, as toy has; it reads torch and onnx"):
        workshop.job()


def test_the_models_own_decoder_is_a_material(workshop: Workshop) -> None:
    workshop.recipe("{classification: {labels: labels.txt}}", "{module: decoder.py}")
    before = workshop.job()
    assert [material.name for material in before.having("decoder")] == ["decoder.py"]
    (workshop.model / "decoder.py").write_text("class Decoder:\n    x = 1\n")
    assert workshop.job().key != before.key


def test_missing_pictures_are_reported_together(workshop: Workshop) -> None:
    workshop.recipe('["*.png"]', '["*.jpg", "a.png", "b/*.bmp"]')
    with pytest.raises(MachineError, match=re.escape("no file matches *.jpg, b/*.bmp; sought in")):
        workshop.job()


def test_missing_pictures_and_arrays_are_one_error(workshop: Workshop) -> None:
    workshop.recipe('"*.png"], arrays: ["*.npz"]', '"*.jpg", "*.png"], arrays: ["*.npy", "c.npz"]')
    with pytest.raises(MachineError, match=re.escape("no file matches *.jpg, *.npy; sought in")):
        workshop.job()


def test_a_file_that_is_a_picture_and_an_array_is_both(workshop: Workshop) -> None:
    workshop.recipe('"*.png"], arrays: ["*.npz"]', '"a.png"], arrays: ["a.png"]')
    roles = [material.role for material in workshop.job().materials if material.name == "a.png"]
    assert roles == ["pictures", "arrays"]


def test_a_file_that_cannot_be_read_is_a_machine_error(workshop: Workshop) -> None:
    with pytest.raises(MachineError, match="/proc/self/mem cannot be read"):
        workshop.job(weights="/proc/self/mem")  # a regular file, readable by nobody at its beginning


def test_each_precision_is_a_job_of_its_own(workshop: Workshop) -> None:
    workshop.recipe("opset: 12", "precision: [fp16, fp32, fp16]")
    jobs = workshop.jobs()
    assert [(job.variant, job.precision) for job in jobs] == [("toy-fp16", "fp16"), ("toy-fp32", "fp32")]
    assert len({job.key for job in jobs}) == 2
    (one,) = workshop.jobs(options="precision=fp32")
    assert (one.variant, one.key) == ("toy-fp32", jobs[1].key)
    assert [job.precision for job in workshop.jobs(options="precision=[fp32,fp16]")] == ["fp32", "fp16"]


def test_a_target_that_the_recipe_does_not_mention_has_its_defaults(workshop: Workshop) -> None:
    workshop.recipe("\n  toy: {opset: 12}", " {}")
    assert workshop.job().options == {"opset": None, "simplify": True, "way": "fast", "room": 1 << 30, "dynamic": {},
                           "edit": {}}


def test_a_single_precision_is_not_named(workshop: Workshop) -> None:
    (workshop.target.folder / "target.yaml").write_text(TARGET.replace("[fp32, fp16]", "[fp32]"))
    assert workshop.job().variant == "toy"
    assert workshop.job(options="opset=9").variant == "toy-opset9"


@pytest.mark.parametrize(("options", "variant", "values"), [
    ("opset=11", "toy-fp32-opset11", {"opset": 11}),
    ("simplify=false  opset=11", "toy-fp32-opset11-simplify-none", {"opset": 11, "simplify": False}),
    ("simplify=yes", "toy-fp32", {"simplify": True}),
    ("way=a/b", "toy-fp32-waya_b", {"way": "a/b"}),
    ("way=../../x", "toy-fp32-way.._.._x", {"way": "../../x"}),
    ("room=2MiB", "toy-fp32-room2097152", {"room": 2 << 20}),
    ("dynamic={}", "toy-fp32", {"dynamic": {}}),
    ('dynamic={"input":{"0":"batch"}}', None, {"dynamic": {"input": {"0": "batch"}}}),
    ("   ", "toy-fp32", {}),
])
def test_options_given_by_hand_show_in_the_variant(workshop: Workshop, options: str, variant: str | None,
                                                   values: dict[str, object]) -> None:
    job = workshop.job(options=options)
    assert {name: job.options[name] for name in values} == values
    if variant:
        assert job.variant == variant
    else:
        assert re.fullmatch("toy-fp32-dynamic-[0-9a-f]{6}", job.variant)
    assert "/" not in job.variant


@pytest.mark.parametrize("options", ["opset=12", "opset=0x0c", "simplify=true opset=12", "room=1024MiB way=fast",
                                     'dynamic={"input":{"0":"batch"}}'])
def test_options_that_say_what_the_recipe_says_are_the_recipes_own_variant(workshop: Workshop, options: str) -> None:
    workshop.recipe("{opset: 12}", "{opset: 12, dynamic: {input: {0: batch}}}")
    plain, asked = workshop.job(), workshop.job(options=options)
    assert (asked.variant, asked.key) == (plain.variant, plain.key)


def test_options_that_undo_the_recipes_show_in_the_variant(workshop: Workshop) -> None:
    workshop.recipe("{opset: 12}", "{opset: 12, simplify: false, dynamic: {input: {0: batch}}}")
    assert workshop.job(options="opset=12 simplify=true dynamic={}").variant == "toy-fp32-dynamic-none-simplify"


@pytest.mark.parametrize(("options", "said"), [
    ("opset", "OPTIONS: 'opset' has no value"),
    ("opset=11 simplify", "OPTIONS: 'simplify' has no value"),
    ("opste=11", "OPTIONS: opste: unknown key; did you mean opset?"),
    ("opset=eleven", "OPTIONS: opset: expected a whole number of at least 0, found 'eleven'"),
    ("opset=", "OPTIONS: opset: expected a whole number of at least 0, found nothing"),
    ("opset=11 opset=12", "OPTIONS: opset: stands twice, on lines 1 and 2"),
    ("opset=a simplify=b", "OPTIONS: opset: expected a whole number of at least 0, found 'a'; "
                           "OPTIONS: simplify: expected true or false, found 'b'"),
    ("precision=fp8", "OPTIONS: precision: 'fp8' is not known; known: fp16, fp32"),
    ("way={a", "OPTIONS: not valid YAML: while parsing a flow mapping: did not find expected ',' or '}'"),
    ("#=1", "OPTIONS: the file is empty"),
    ('dynamic={"inptu":{"0":"batch"}}', "OPTIONS: dynamic.inptu: there is no such input; did you mean input?"),
    ('dynamic={"input":{"4":"batch"}}', "OPTIONS: dynamic.input.4: axes of this input are numbered 0 to 3"),
    ("way=&a", "OPTIONS: way: expected text, found nothing"),
])
def test_options_that_are_wrong_are_explained(workshop: Workshop, options: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        workshop.job(options=options)
    assert caught.value.message == said


def test_the_only_value_of_expect_is_none() -> None:
    assert Request(expect="none").expect == "none"
    with pytest.raises(UsageError, match="EXPECT=some is not known"):
        Request(expect="some")


def test_a_recipe_is_not_planned_with_problems(workshop: Workshop) -> None:
    with pytest.raises(RecipeError):
        workshop.recipe("name: toy", "name: yot").job()


def test_progress_of_a_download_is_handed_on(workshop: Workshop) -> None:
    seen: list[tuple[int, int]] = []

    class Watched(Lookup):
        def file(self, named, recipe, progress=None):  # type: ignore[no-untyped-def]
            assert progress
            progress(1, 2)
            return super().file(named, recipe, progress)

    digests = Digests(workshop.folder / "cache")
    lookup = Watched(data=(), downloads=workshop.folder, digests=digests)
    planner = Planner(target=workshop.target, digests=digests, request=Request(), lookup=lookup,
                      runner=VenvRunner(environments=workshop.folder, torch_index=""))
    recipe = read_recipe(workshop.model / "model.yaml", {"toy": workshop.target.options})
    list(replace(planner, progress=lambda done, of: seen.append((done, of))).jobs(recipe))
    assert seen == [(1, 2)]


@pytest.mark.parametrize(("text", "names"), [
    ("a", ["a"]), ("a,b", ["a", "b"]), (" b , a ,", ["b", "a"]), ("a,a", ["a"]), ("all", ["a", "b", "c"]),
    ("all,a", ["all", "a"]),
])
def test_models_are_named_one_by_one_or_all(text: str, names: list[str]) -> None:
    assert parse_models(text, ["a", "b", "c"]) == names


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_no_model_is_a_usage_error_that_lists_them(text: str) -> None:
    with pytest.raises(UsageError, match="which model") as caught:
        parse_models(text, ["a", "b"])
    assert caught.value.remedy.endswith("known: a, b")


def test_what_an_architecture_imports_from_beside_it_goes_into_the_job_and_its_key(workshop: Workshop) -> None:
    (workshop.model / "toy.py").write_text("import blocks\n")
    alone = workshop.job().key
    (workshop.model / "blocks.py").write_text("WIDTH = 3\n")
    with_it = workshop.job()
    assert [material.name for material in with_it.having("neighbour")] == ["blocks.py"]
    (workshop.model / "blocks.py").write_text("WIDTH = 4\n")
    assert len({alone, with_it.key, workshop.job().key}) == 3
