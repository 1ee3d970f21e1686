"""The grammar of recipes: the shape of model.yaml, for the reader and for editors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from modelfarm.decoders.options import DECODERS
from modelfarm.document import INVALID, Document, Shape, Where
from modelfarm.schema import Anything, Either, Field, Integer, Number, Record, Sequence, Table, Text

DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")
UNITS = ("px", "score", "relative")
MEASURES = ("max", "cosine")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A number such as 1/255, or `max` for the picture's own maximum."""

    def check(self, document: Document, node: yaml.Node, where: Where) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.value == "max":
            document.note(where, node)
            return "max"
        value = Number().check(document, node, where)
        if value == 0:
            document.complain(where, "a scale of 0 makes every picture black")
            return INVALID
        return value

    def json(self) -> dict[str, Any]:
        return {"anyOf": [{"const": "max"}, Number().json()], "not": {"const": 0}}


_SIZE = Integer(minimum=1)
_SHAPE = Sequence(of=_SIZE, least=1)
_TEXTS = Sequence(of=Text())
_PER_CHANNEL = Either(scalar=Number(), sequence=Sequence(of=Number(), lengths=(1, 3)))

NAMED_FILE = Record(fields={
    "file": Field(shape=Text(pattern=r"(.*/)?[^/]*[^/.][^/]*", like="a file name"), required=True,
                  help="a file name, sought beside the recipe, then in MODELFARM_DATA"),
    "sha256": Field(shape=Text(pattern="[0-9a-f]{64}", like="64 hexadecimal digits, in small letters"),
                    help="what the file must hash to"),
    "url": Field(shape=Text(pattern="https?://.+", like="an http(s) URL"),
                 help="where to download it, if sha256 is given"),
})

SOURCE = Record(exactly_one=("torch", "onnx", "tflite"), fields={
    "torch": Field(help="a PyTorch architecture and its weights", shape=Record(fields={
        "module": Field(shape=Text(pattern=r"[\w./-]+\.py", like="a .py file"), required=True,
                        help="sought beside the recipe, then among the shared architectures"),
        "factory": Field(shape=Text(), required=True, help="a function of the module that returns the model"),
        "arguments": Field(shape=Table(of=Anything()), default={}, help="what the factory is called with"),
        "weights": Field(shape=NAMED_FILE, required=True, help="the checkpoint"),
    })),
    "onnx": Field(shape=NAMED_FILE, help="an ONNX file"),
    "tflite": Field(shape=NAMED_FILE, help="a TFLite file"),
})

PICTURE = Record(fields={
    "resize": Field(shape=Text(choices=("letterbox", "stretch", "crop", "short")), default="stretch",
                    help="letterbox: keep the aspect and pad; stretch: ignore it; crop: largest centred crop, "
                         "then resize; short: short side to `short`, then centre crop"),
    "anchor": Field(shape=Text(choices=("centre", "top-left")), default="centre",
                    help="where a letterbox puts the picture"),
    "short": Field(shape=_SIZE, help="pixels of the short side, for `resize: short`"),
    "pad": Field(shape=_PER_CHANNEL, default=114.0, help="pixel value of a letterbox's border"),
    "interpolation": Field(shape=Text(choices=("nearest", "linear", "cubic", "area")), default="linear"),
    "color": Field(shape=Text(choices=("rgb", "bgr", "gray")), default="rgb", help="the tensor's colour order"),
    "scale": Field(shape=Scale(), default=1.0, help="pixels are multiplied by this; max: divided by their maximum"),
    "mean": Field(shape=_PER_CHANNEL, default=0.0, help="subtracted after the scale"),
    "std": Field(shape=_PER_CHANNEL, default=1.0, help="divided by after the mean"),
})

INPUT = Record(fields={
    "shape": Field(shape=_SHAPE, required=True, help="with the batch first"),
    "dtype": Field(shape=Text(choices=DTYPES), default="float32"),
    "layout": Field(shape=Text(choices=("NCHW", "NHWC")), help="order of the axes of a picture"),
    "picture": Field(shape=PICTURE, help="how the model's training prepared its pictures"),
})

OUTPUT = Record(fields={
    "shape": Field(shape=_SHAPE, help="with the batch first"),
    "dtype": Field(shape=Text(choices=DTYPES)),
})

_POINT = Sequence(of=Number(), lengths=(2,))
EXPECTED = Either(
    sequence=Sequence(of=Record(fields={
        "box": Field(shape=Sequence(of=Number(), lengths=(4,)), required=True, help="x1, y1, x2, y2 in pixels"),
        "score": Field(shape=Number(minimum=0, maximum=1), required=True),
        "landmarks": Field(shape=Sequence(of=_POINT), help="x, y pairs in pixels"),
    })),
    mapping=Record(exactly_one=("top1", "top5", "accuracy"), fields={
        "top1": Field(shape=Text(), help="label or index of the best class"),
        "top5": Field(shape=Sequence(of=Text(), lengths=(5,)), help="labels or indices, best first"),
        "accuracy": Field(shape=Number(minimum=0, maximum=1),
                          help="least share of an array's rows that match its labels"),
    }))

LIMIT = Record(fields={
    "unit": Field(shape=Text(choices=UNITS), required=True, help="what the limit is measured in"),
    "measure": Field(shape=Text(choices=MEASURES), default="max", help="greatest error, or least cosine"),
    "limit": Field(shape=Number(minimum=0), required=True),
    "because": Field(shape=Text(), required=True, help="the reason, which the manifest shows"),
    "precision": Field(shape=Text(), help="only for this precision"),
})

DECODER = Record(exactly_one=(*DECODERS, "module"), fields={
    **{name: Field(shape=shape) for name, shape in DECODERS.items()},
    "module": Field(shape=Text(), help="a module beside the recipe that defines Decoder(options)"),
    "options": Field(shape=Table(of=Anything()), help="what the module's Decoder is given"),
})

_REGIONS = Table(of=Sequence(of=Integer(minimum=0), lengths=(4,)))
_OF_REGIONS = "of pictures, by file name, the part that the model gets: x1, y1, x2, y2 in pixels"

SAMPLES = Record(fields={
    "pictures": Field(shape=_TEXTS, default=[], help="patterns of picture files"),
    "arrays": Field(shape=_TEXTS, default=[], help="patterns of .npz files, for inputs that are no pictures"),
    "random": Field(shape=Integer(minimum=0, maximum=100), default=2, help="how many random tensors"),
    "seed": Field(shape=Integer(minimum=0), default=0),
    "regions": Field(shape=_REGIONS, default={}, help=_OF_REGIONS),
})
CALIBRATION = Record(fields={
    "pictures": Field(shape=_TEXTS, default=[], help="patterns of picture files"),
    "arrays": Field(shape=_TEXTS, default=[], help="patterns of .npz files, for inputs that are no pictures"),
    "variations": Field(shape=Integer(minimum=0, maximum=100), default=0,
                        help="how many cuts, mirrored or in other light, are made of each picture beside itself"),
    "seed": Field(shape=Integer(minimum=0), default=0),
    "regions": Field(shape=_REGIONS, default={}, help=_OF_REGIONS),
})
_DEFAULT_SAMPLES = {"pictures": [], "arrays": [], "random": 2, "seed": 0, "regions": {}}


def recipe_shape(targets: Mapping[str, Shape]) -> Record:
    """Return the shape of a recipe, with the options of these targets."""
    return Record(fields={
        "name": Field(shape=Text(pattern=r"[\w][\w.+-]*", like="a name of letters, digits, . + - _"), required=True,
                      help="the same as the folder"),
        "description": Field(shape=Text(), default="", help="one line for `make models`"),
        "source": Field(shape=SOURCE, required=True, help="what the model is made from"),
        "inputs": Field(shape=Table(of=INPUT, least=1), required=True, help="input names and what they take"),
        "outputs": Field(shape=Either(sequence=Sequence(of=Text(), least=1), mapping=Table(of=OUTPUT, least=1)),
                         required=True, help="output names, in the model's order"),
        "decoder": Field(shape=DECODER, help="what makes predictions of the outputs"),
        "samples": Field(shape=SAMPLES, default=_DEFAULT_SAMPLES, help="what the conversion is proven on"),
        "calibration": Field(shape=CALIBRATION, help="what the ranges of a quantised model are measured on"),
        "expect": Field(shape=Table(of=EXPECTED), default={}, help="golden results, by sample"),
        "limits": Field(shape=Sequence(of=LIMIT), default=[], help="wider parity limits, each with a reason"),
        "targets": Field(shape=Record(fields={name: Field(shape=shape, help=f"options of the {name} target")
                                              for name, shape in targets.items()}),
                         required=True, help="what the model becomes"),
    })


def json_schema(targets: Mapping[str, Shape]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a recipe, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "modelfarm recipe",
            **recipe_shape(targets).json()}
