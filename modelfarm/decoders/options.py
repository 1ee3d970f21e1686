"""Options: what a recipe may say to each decoder.

This module knows no numpy: reading a recipe must stay quick.
"""

from __future__ import annotations

from modelfarm.schema import Field, Integer, Number, Record, Sequence, Text

_FRACTION = Number(minimum=0, maximum=1)
_CONFIDENCE = Field(shape=_FRACTION, default=0.3, help="the least score of a prediction that is kept, 0 to 1")
_IOU = Field(shape=_FRACTION, default=0.5, help="boxes that overlap more than this are one object (NMS), 0 to 1")

PRIORS = Record(fields={
    "strides": Field(shape=Sequence(of=Integer(minimum=1), least=1), required=True,
                     help="pixels per cell of each feature map"),
    "sizes": Field(shape=Sequence(of=Sequence(of=Number(minimum=0), least=1), least=1), required=True,
                   help="prior box sides in pixels, a list per stride"),
    "variances": Field(shape=Sequence(of=Number(minimum=0), lengths=(2,)), required=True,
                       help="scale of centre and size offsets (SSD), two numbers"),
})

OUTPUTS = ("output", "boxes", "scores", "landmarks", "points", "score")  # the options that name an output of the model

DECODERS: dict[str, Record] = {
    "classification": Record(fields={
        "output": Field(shape=Text(), help="the output that holds the classes; default: the only one"),
        "labels": Field(shape=Text(), help="a text file beside the recipe, one class name a line"),
        "activation": Field(shape=Text(choices=("softmax", "none")), default="none",
                            help="softmax where the output holds logits"),
    }),
    "yolo_face": Record(fields={
        "confidence": _CONFIDENCE,
        "iou": _IOU,
        "anchors": Field(shape=Sequence(of=Sequence(of=Number(minimum=0), least=2), least=1),
                         help="for raw heads (cut_decode): widths and heights in pixels, a list for each head from the "
                              "least stride; left out, those of the family"),
    }),
    "ssd_face": Record(fields={
        "confidence": _CONFIDENCE,
        "iou": _IOU,
        "boxes": Field(shape=Text(), required=True, help="the output with 4 values a box"),
        "scores": Field(shape=Text(), required=True, help="the output with background and face scores"),
        "landmarks": Field(shape=Text(), help="the output with 10 values a box"),
        "priors": Field(shape=PRIORS, help="prior boxes; left out where boxes are corner fractions already"),
    }),
    "blaze_face": Record(fields={
        "confidence": Field(shape=_FRACTION, default=0.5, help=_CONFIDENCE.help),
        "iou": Field(shape=_FRACTION, default=0.3, help=_IOU.help),
        "boxes": Field(shape=Text(), required=True, help="the output with 16 values an anchor"),
        "scores": Field(shape=Text(), required=True, help="the output with one score an anchor"),
        "strides": Field(shape=Sequence(of=Integer(minimum=1), least=1), default=[8, 16, 16, 16],
                         help="pixels per cell of each layer of anchors"),
    }),
    "landmarks": Record(fields={
        "confidence": Field(shape=_FRACTION, default=0.5, help=_CONFIDENCE.help),
        "points": Field(shape=Text(), required=True, help="the output with the points"),
        "dimensions": Field(shape=Integer(minimum=2, maximum=3), default=2, help="a point's numbers: x, y, and depth"),
        "score": Field(shape=Text(), help="the output that says whether the object is there"),
    }),
}
