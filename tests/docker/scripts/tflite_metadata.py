"""Do jobs of a way to TFLite whose recipe says something; print what their files say, and what happens to liars.

Arguments: a folder.
"""

import io
import json
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import converter
import metadata
import tflitenets as nets
from flatfile import read_model, text, write_model
from jobkit import Refused
from support import MetadataDisplayer
from tfliteshop import Shop

MEANING = {
    "description": "five kinds of noise",
    "pictures": {
        "x": {
            "resize": "letterbox", "anchor": "center", "short": None, "pad": [114.0], "interpolation": "linear",
            "color": "rgb", "scale": 1 / 255, "mean": [0.5, 0.25, 0.125], "std": [0.5, 0.5, 0.25],
        }
    },
    "labels": ["hum", "hiss", "Geräusch", "rumble", "none"],
    "decoder": {"name": "classification", "options": {"output": "y"}},
    "outputs": {"y": "one score per class; columns 0 to 3 are divided by 640"},
    "edits": {"normalise_boxes": {"factor": 640.0, "columns": {"y": [[0, 4]]}}},
}  # fmt: skip

shop, found = Shop(Path(sys.argv[1])), {}
eight = shop.values((1, 3, 8, 8), 8)
conv = nets.convolutions()


def job(name, precision="fp32", meaning=MEANING):
    """Make a job with eight samples, which are its calibration too."""
    wish = {"calibration": eight} if precision == "uint8" else {}
    return shop.job(name, conv, precision, samples=eight[:2], meaning=meaning, **wish)


def shown(file):
    """Give what tflite-support's own reader shows of a file."""
    reader = MetadataDisplayer.with_model_file(str(file))
    names = reader.get_packed_associated_file_list()
    with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
        dates = [entry.date_time for entry in archive.infolist()]
    files = {name: reader.get_associated_file_buffer(name).decode() for name in names}
    return {"json": json.loads(reader.get_metadata_json()), "files": files, "dates": dates}


def loaded(task):
    """Load the file of a job; give its facts, or the refusal."""
    try:
        converter.load(["model.tflite"], task)
    except Refused as error:
        return {"class": type(error).__name__, "message": error.message}
    return {"facts": task.facts}


for precision in ("uint8", "fp32"):
    task = job(precision, precision)
    found[precision] = {**shop.done(task), "shown": shown(task.out / "model.tflite")}
    if precision == "uint8":
        shop.anew()  # onnx2tf numbers what it makes in one process
        found["again"] = shop.done(job("again", precision))

plain = shop.job("plain", conv, samples=eight[:2])
found["plain"] = shop.done(plain)
found["plain words"] = loaded(replace(plain, facts={}))

task = job("liar")
shop.done(task)
other = {**MEANING, "labels": MEANING["labels"][::-1]}
found["other labels"] = loaded(replace(task, meaning=other))
pictures = {"x": {**MEANING["pictures"]["x"], "scale": 1 / 128}}
found["other scale"] = loaded(replace(task, meaning={**MEANING, "pictures": pictures}))
found["other factor"] = loaded(replace(task, meaning={**MEANING, "edits": {"normalise_boxes": {"factor": 320.0}}}))

found["given"] = loaded(replace(task, given=(task.out / "model.tflite",), facts={}))
found["given, other labels"] = loaded(replace(task, given=(task.out / "model.tflite",), meaning=other, facts={}))
found["given, no meaning"] = loaded(replace(task, given=(task.out / "model.tflite",), meaning={}, facts={}))

file, bare = task.out / "model.tflite", task.out / "bare.tflite"
model = read_model(file)
model.metadata = [entry for entry in model.metadata if text(entry.name) != "TFLITE_METADATA"]
write_model(model, bare)
found["same"] = metadata.same(str(file), str(bare), task.inputs, shop.usual, eight[0], 1)
found["not same"] = metadata.same(
    str(file), str(plain.out.parents[1] / "uint8" / "out" / "model.tflite"), task.inputs, shop.usual, eight[0], 1
)
shutil.move(bare, file)
found["bare"] = loaded(task)
found["bare and given"] = loaded(replace(task, given=(file,), facts={}))
print(json.dumps(found, default=str))
