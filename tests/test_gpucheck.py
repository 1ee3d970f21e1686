"""The GPU check on a stand-in for a machine with a GPU: real jobs of a toy target, one JSON and one table."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm.console import Console
from modelfarm.errors import MachineError, UsageError
from modelfarm.farm import Farm
from modelfarm.gpucheck import HEADING, NAME, Row, check, requests, table, unplanned, write
from modelfarm.plan import Planner, Request
from modelfarm.target import read_target, read_targets
from tests.gpus import RTX_3060, Machine
from tests.test_passport import GpuFarm
from tests.toys import CONVERTER, Toys

FIGURES = {"without copies, median ms": 0.5, "items per second": 2000.0, "PyTorch eager, median ms": 3.25}


@pytest.fixture
def machine(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a machine with a GPU, and make the toy's target one for GPUs, in two precisions."""
    folder = toys.target.folder
    text = (folder / "target.yaml").read_text().replace("[fp32]", "[fp32, fp16]")
    (folder / "target.yaml").write_text(text + "device: gpu\n")
    device = 'Device("cpu", _weights(job).get("device", "cpu"), "numpy")'
    text = CONVERTER.replace(device, 'Device("gpu", "gpu", "a toy")')
    text = text.replace("),), device)", f"),), device, figures=lambda sample: {FIGURES!r})")
    (folder / "converter.py").write_text(text)
    machine = Machine(toys.folder / "machine")
    machine.path.mkdir(parents=True)
    monkeypatch.setenv("PATH", machine.environment["PATH"])
    machine.insert(RTX_3060)
    return machine


def checked(toys: Toys, models: str = "") -> tuple[int, str, Any, str]:
    """Return the code, what was printed, the JSON and the table."""
    out = io.StringIO()
    code = check(GpuFarm(toys.settings), models, Console(out))
    folder = toys.settings.artifacts
    document = json.loads((folder / f"{NAME}.json").read_text())
    return code, out.getvalue(), document, (folder / f"{NAME}.md").read_text()


def test_every_model_and_precision_has_a_row_with_its_figures(toys: Toys, machine: Machine) -> None:
    toys.model("other", gain=3)
    code, said, document, text = checked(toys)
    assert code == 0
    rows = {(row["model"], row["variant"]): row for row in document["rows"]}
    assert set(rows) == {(model, f"toy-{precision}") for model in ("other", "toy") for precision in ("fp32", "fp16")}
    assert {row["result"] for row in rows.values()} == {"verified"}
    assert rows["toy", "toy-fp16"]["latency"]["figures"] == FIGURES
    assert document["gpu"] == RTX_3060.identity
    assert text.startswith(f"# {RTX_3060}, {document['made_at'][:10]}\n")
    assert "| toy | toy-fp32 | verified | " in text and "| 0.5 ms | 2000 |  | 3.25 ms |" in text
    assert "toy-fp16" in said and f"{NAME}.json" in said


def test_a_failure_has_a_row_with_its_reason_and_its_code_and_the_rest_goes_on(toys: Toys, machine: Machine) -> None:
    toys.model("bad", gain=3, error=1)
    code, _, document, text = checked(toys)
    assert code == 6
    results = {(row["model"], row["variant"]): row["result"] for row in document["rows"]}
    assert results["bad", "toy-fp32"] == "failed" and results["toy", "toy-fp32"] == "verified"
    assert "| bad | toy-fp32 | failed: gate parity" in text


def test_one_model_alone(toys: Toys, machine: Machine) -> None:
    toys.model("other", gain=3)
    _, _, document, _ = checked(toys, "other")
    assert {row["model"] for row in document["rows"]} == {"other"}


def test_models_whose_files_are_elsewhere_are_left_out_unless_they_are_named(toys: Toys, machine: Machine) -> None:
    (toys.model("absent") / "toy.pt").unlink()
    code, _, document, _ = checked(toys)
    assert code == 0 and {row["model"] for row in document["rows"]} == {"toy"}
    code, _, document, _ = checked(toys, "absent")
    assert code == 4 and {row["result"] for row in document["rows"]} == {"failed"}


def test_without_a_gpu_nothing_is_begun(toys: Toys, machine: Machine) -> None:
    (machine.root / "dev" / "nvidia0").unlink()
    with pytest.raises(MachineError, match="this machine has none that works") as caught:
        checked(toys)
    assert caught.value.code == 4
    assert not (toys.settings.artifacts / f"{NAME}.json").exists()


def test_a_farm_without_such_targets_says_so(toys: Toys) -> None:
    with pytest.raises(UsageError, match="no target is for GPUs"):
        checked(toys)


def test_a_second_check_serves_what_is_there(toys: Toys, machine: Machine) -> None:
    first, second = checked(toys), checked(toys)
    assert "cached" not in first[1]
    assert [row["latency"] for row in first[2]["rows"]] == [row["latency"] for row in second[2]["rows"]]


def test_all_ways_and_precisions_are_asked_for_and_int8_where_there_is_a_calibration_set(toys: Toys) -> None:
    trt, recipe = read_targets()["trt"], toys.farm.recipe("toy")
    asked = [(request.via, request.precision) for request in requests(trt, recipe)]
    assert asked == [(way, precision) for way in ("python", "onnx2trt", "torch2trt") for precision in ("fp32", "fp16")]
    calibrated = replace(recipe, calibration=replace(recipe.calibration, pictures=("a.png",)))
    assert ("python", "int8") in [(request.via, request.precision) for request in requests(trt, calibrated)]
    only = read_target(toys.target.folder / "target.yaml")
    assert [(request.via, request.precision) for request in requests(only, recipe)] == [("", "fp32")]


ROWS = [
    Row(model="a", variant="trt-fp32", result="verified", worst={"px": 0.00123, "score": None},
        latency={"median_ms": 1.5, "p95_ms": 1.75, "figures": {}}),
    Row(model="a", variant="trt-fp32-torch2trt", result="verified", latency={"median_ms": 2.0, "p95_ms": 2.5,
        "figures": {"ONNX Runtime, median ms": 4.0, "PyTorch eager, median ms": 8.0}}),
    Row(model="b", variant="trt-int8", result="skipped", reason="it reads | torch\nand more"),
]


def test_a_model_from_an_onnx_file_has_onnx_runtime_beside_it_in_each_of_its_rows() -> None:
    python = Row(model="file", variant="trt-fp32", result="verified", latency={"median_ms": 1.0, "p95_ms": 1.0,
                 "figures": {"ONNX Runtime, median ms": 6.0}})
    other = replace(python, variant="trt-fp32-onnx2trt", latency={"median_ms": 1.0, "p95_ms": 1.0})
    _, first, second = table([python, other])
    assert first[7:9] == second[7:9] == ("6 ms", "")


def test_a_way_that_does_not_read_a_source_is_skipped_with_the_reason() -> None:
    farm, request = Farm.here(), Request(precision="fp32", via="torch2trt")
    planner = Planner(target=farm.targets["trt-torch2trt"], runner=farm.runners.venv, lookup=farm.lookup,
                      digests=farm.digests, request=Request(precision="fp32"))
    recipe = farm.recipe("ultraface-slim-320-onnx")
    with pytest.raises(UsageError) as caught:
        list(planner.jobs(recipe))
    row = unplanned(farm.targets["trt"], recipe.name, request, caught.value)
    assert (row.variant, row.result) == ("trt-fp32-torch2trt", "skipped")
    assert row.reason.startswith("target trt-torch2trt cannot read an onnx source, as ultraface-slim-320-onnx has")


def test_rivals_stand_in_every_row_of_their_model_and_in_no_other() -> None:
    heading, first, second, third = table(ROWS)
    assert heading == HEADING
    assert first == ("a", "trt-fp32", "verified", "1.5 ms", "1.75 ms", "", "", "4 ms", "8 ms", "1.2e-03 px")
    assert second[7:9] == ("4 ms", "8 ms")
    assert third[2] == "skipped: it reads | torch" and set(third[3:]) == {""}
    assert len({len(row) for row in table(ROWS)}) == 1


def test_the_table_is_markdown_whatever_the_reasons_hold(tmp_path: Path) -> None:
    _, file = write(tmp_path / "new", RTX_3060, "2026-11-25T12:00:00Z", ROWS)
    lines = file.read_text().splitlines()[2:]
    assert len({line.count("|") for line in lines}) == 1 and len(lines) == 5


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(MachineError, match="cannot be written") as caught:
        write(tmp_path / "file", RTX_3060, "2026", ROWS)
    assert "ARTIFACTS=" in caught.value.remedy
