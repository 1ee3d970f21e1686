"""The demo: the bundled model converted, and what it sees."""

from __future__ import annotations

import sys

from modelfarm.console import Console
from modelfarm.farm import Farm
from modelfarm.phrase import shown
from modelfarm.plan import Request

MODEL = "digits"
_WIDTH = 8  # characters for a picture of 8 pixels


def demonstrate(farm: Farm, console: Console) -> int:
    """Convert the bundled model, draw its pictures and what the artifact reads in them; returns the exit code."""
    if code := farm.convert("onnx", MODEL, Request(), console):
        return code
    artifact = farm.artifact(MODEL, "onnx")
    # Imported here: only the demo and new conversions read pictures.
    from modelfarm.report.sheet import save_sheet
    from modelfarm.report.terminal import row

    seen = artifact.smoke["predictions"]
    pictures = farm.lookup.matching(farm.recipe(MODEL).samples.pictures, farm.settings.models / MODEL)
    by_name = {picture.name: picture for picture in pictures}
    captions = [f"{entry['artifact'][0]['labels'][0]}: {entry['artifact'][0]['scores'][0]:.2f}" for entry in seen]
    console.line("\n  What the ONNX file reads in pictures that training never saw, and how sure it is:\n")
    for line in row([by_name[entry["sample"]] for entry in seen], captions, _WIDTH, color=sys.stdout.isatty()):
        console.line(f"  {line}")
    sheet = farm.settings.artifacts / "demo.png"
    save_sheet(sheet, [artifact.path(f"{entry['sample']}.overlay.png") for entry in seen], columns=5, scale=0.5)
    golden = next(gate for gate in artifact.smoke["gates"] if gate["name"] == "golden")
    console.line(f"\n  golden results: {golden['summary']}")
    console.line(f"  the report:     {shown(artifact.path('smoke.log'))}")
    console.line(f"  the picture:    {shown(sheet)}")
    return 0


