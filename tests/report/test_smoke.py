from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modelfarm.artifact import Artifact, Subject
from modelfarm.gates.signature import Form
from modelfarm.job import Job, Material
from modelfarm.report.smoke import smoke_document, smoke_text
from modelfarm.report.smoke_text import described
from modelfarm.target import read_targets
from modelfarm.verify import Case, verify
from tests.cases import ROWS, ToyClassifier, case, recipe, result

KEY = "0123456789abcdef" * 4
CLASSES = np.array([[0.125, 0.625, 0.25]], np.float32)


def job(**changes: Any) -> Job:
    weights = Material(role="weights", name="toy.pt", path=Path("/secret/place/toy.pt"), sha256="ab" * 32)
    pictures = Material(role="pictures", name="a.png", path=Path("a.png"), sha256="cd" * 32)
    plain = Job(recipe=recipe(), target=read_targets()["onnx"], variant="onnx", precision="fp32",
                options={"opset": 12, "dynamic": {"input": {"0": "batch"}}, "split": 2 << 30},
                materials=(weights, pictures), random_weights=False, golden_waived=False, runner="venv",
                seconds=60, provenance={}, identity={}, key=KEY)
    return replace(plain, **changes)


def document(judged: Case, **changes: Any) -> dict[str, Any]:
    given = {"job": job(), "result": judged.result, "sizes": {"model.onnx": 1_923_456}, "timings": {"gates": 0.123456},
             "made_at": "2026-01-02 03:04:05 UTC", **changes}
    return smoke_document(verdict=verify(judged), **given)


def before(folder: Path, median: float, size: int) -> Artifact:
    (folder / "smoke.json").write_text(json.dumps({"latency": {"median_ms": median}}))
    return Artifact(folder=folder, model="toy", variant="onnx", key="f" * 64, published=0.0, manifest={},
                    files=(Subject(name="model.onnx", sha256="ab" * 32, size=size),))


OFF = ROWS + np.array([0.00051234, 0, 0, 0, 0], np.float32)


def test_the_document_is_json_with_three_significant_digits() -> None:
    found = document(case(ROWS, OFF))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["latency"]["median_ms"] == 1.23
    assert found["timings"] == {"gates": 0.123, "toolchain: convert": 1.5}
    box = next(row for row in found["columns"] if row["column"] == "box")
    assert (box["max_error"], box["samples"], box["unit"]) == (0.000513, 2, "px")
    assert box["cosine"] == 1.0
    assert found["worst"] == {"px": 0.000513, "score": 0.0}
    assert found["predictions"][0]["artifact"] == [{"box": [10.0, 20.0, 50.0, 60.0], "score": 0.9, "landmarks": []}]
    assert (found["version"], found["size"], found["passed"]) == (KEY[:16], 1_923_456, True)
    assert found["gates"][0]["name"] == "complete"


def test_what_is_only_shown_has_no_limit_and_comes_last() -> None:
    wild = ROWS.copy()
    wild[0, 0] = [0, 0, 90, 90, 0.2]
    whole = result(ROWS.shape)
    tensors = [replace(tensor, dtype="uint8", scale=0.5, zero_point=3) for tensor in (*whole.inputs, *whole.outputs)]
    found = document(case(ROWS, precision="uint8", outputs=[{"rows": ROWS}, {"rows": wild}], form=Form(integer="uint8"),
                          result=replace(whole, inputs=tuple(tensors[:1]), outputs=tuple(tensors[1:]))))
    assert found["passed"], found["gates"]
    assert found["worst"] == {"px": 0.0, "score": 0.0}
    rows = [line.split() for line in smoke_text(found).splitlines() if line.startswith(("  box ", "  score "))]
    assert [row[6] for row in rows] == ["6.5", "0.15", "shown", "shown"]


def test_a_line_of_the_report_lists_a_few_landmarks_and_counts_the_rest() -> None:
    mesh = {"box": [1, 2, 3, 4], "score": 0.5, "landmarks": [[index, 1] for index in range(468)]}
    line = described(mesh)
    assert line.startswith("0.5000 at 1.0 2.0 3.0 4.0; landmarks 0.0,1.0 1.0,1.0 ") and line.endswith(" and 460 more")
    assert described({**mesh, "landmarks": mesh["landmarks"][:5]}).endswith(" 4.0,1.0")


def test_it_holds_no_path_of_this_machine() -> None:
    assert "secret" not in json.dumps(document(case()))


def test_figures_that_are_no_numbers_are_named() -> None:
    judged = case(ROWS, np.full_like(ROWS, np.nan))
    assert json.dumps(document(judged), allow_nan=False)
    assert "has 10 of 10 values NaN" in smoke_text(document(judged))


def test_the_text_has_the_figures_of_the_document(tmp_path: Path) -> None:
    text = smoke_text(document(case(ROWS, OFF), previous=before(tmp_path, 1.0, 2_000_000)))
    lines = text.splitlines()
    assert lines[0] == "toy / onnx   version 0123456789abcdef"
    for expected in ("toy.pt (sha256 abababababab…)", "torch 2.13.0", "opset=12", "dynamic={input: {0: batch}}",
                     "2026-01-02 03:04:05 UTC", "gates (6 passed, 1 skipped)", "0.000513",
                     "0.9000 at 10.0 20.0 50.0 60.0",
                     "1.23 ms median, 2.35 ms p95 of 30 runs on a.png  (+23 %)", "1.92 MB  (-4 %)",
                     "beside ffffffffffffffff", "cpu (CPUExecutionProvider)", "toolchain: convert"):
        assert expected in text, expected
    assert "a.png (sha256" not in text
    assert all(len(line) <= 140 and line == line.rstrip() for line in lines)


def test_a_figure_within_a_per_cent_is_as_before(tmp_path: Path) -> None:
    assert "2.35 ms p95 of 30 runs on a.png  (as before)" in smoke_text(
        document(case(), previous=before(tmp_path, 1.235, 1_923_456)))


def test_a_failure_shows_its_gate_and_reasons_and_what_did_not_run() -> None:
    judged = case(ROWS, ROWS + 1)
    text = smoke_text(document(judged))
    assert "gates (3 passed, 1 failed, 3 not run: not published)" in text
    assert "FAILED   parity" in text
    assert "- a.png: box: 1 px, the limit is 0.001" in text
    assert "box !" in text
    assert "source: 0.9000 at 10.0 20.0 50.0 60.0" in text


def test_random_weights_are_said_first() -> None:
    assert "RANDOM" in smoke_text(document(case(), job=job(random_weights=True)))
    assert "RANDOM" not in smoke_text(document(case()))


def test_an_artifact_that_did_not_load_has_a_report_too() -> None:
    judged = case(result=None, error="no such operator")
    text = smoke_text(document(judged, result=None, sizes={}, timings={}))
    assert "does not work in its runtime: no such operator" in text
    assert "latency  " not in text
    assert "where the time went" not in text


def test_integers_are_told_with_what_they_stand_for_and_where_they_lose() -> None:
    held = {"tensor": "rows", "scale": 4.0370001, "zero_point": 8, "minimum": -32.3, "maximum": 997.1}
    lossy = {"layer": "Concat_2", "operator": "CONCATENATION", "tensor": "Sigmoid_1", "scale": 4.037,
             "zero_point": -120, "minimum": 0.0, "maximum": 0.87, "signal_to_noise_db": 0.0, "before_db": 23.9}
    layers = {"samples": 4, "compared": 693, "limit_db": 10.0, "first": lossy, "worst": lossy, "constant": [],
              "saturated": []}
    plain = result((1, 3, 5))
    text = smoke_text(document(case(result=replace(plain, facts={"quantisation": [held], "layers": layers}))))
    assert "quantisation (beside a float file of the same graph)" in text
    assert re.search(r"rows +4\.04 +8 +-32\.3 +997", text)
    assert "693 layers on 4 inputs: some fall below 10 dB" in text
    assert "- the signal-to-noise ratio falls first at layer 'Concat_2' (CONCATENATION)" in text
    sane = {**layers, "first": None, "worst": None}
    text = smoke_text(document(case(result=replace(plain, facts={"quantisation": [], "layers": sane}))))
    assert "none falls below 10 dB" in text and "falls first" not in text
    assert "quantisation" not in smoke_text(document(case()))


def test_what_a_file_says_of_itself_is_in_the_text() -> None:
    plain = result((1, 3, 5))
    text = smoke_text(document(case(result=replace(plain, facts={"metadata": ["x: (pixel - 0) / 255"]}))))
    assert "what the file says of itself (its metadata, read back)\n  x: (pixel - 0) / 255\n" in text
    assert "of itself" not in smoke_text(document(case()))


def test_classes_are_told_with_their_scores_and_nothing_found_as_such() -> None:
    judged = case(CLASSES, decoder=ToyClassifier(), result=result((1, 3)))
    assert "a.png  b 0.625, c 0.25, a 0.125" in smoke_text(document(judged))
    assert "a.png  nothing found" in smoke_text(document(case(ROWS * 0)))


def test_several_files_are_listed_with_their_sizes() -> None:
    text = smoke_text(document(case(), sizes={"model.onnx": 900, "model.data": 3_000_000_000, "x": 5_000}))
    for expected in ("3 GB", "model.onnx 900 bytes", "model.data 3 GB", "x 5 kB"):
        assert expected in text


def test_a_recipe_without_a_description_or_options_has_a_shorter_head() -> None:
    bare = job(recipe=recipe(description=""), options={})
    assert "options" not in smoke_text(document(case(), job=bare))
