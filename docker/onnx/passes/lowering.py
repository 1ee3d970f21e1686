"""A graph on its way to an older opset."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from passes.edit import Builder, Constants, shapes_of, title

# A rule gives the nodes in place of the one, none where it changed it in place, or why it cannot.
Made = list[onnx.NodeProto] | str
EMPTY: list[onnx.NodeProto] = []


class Lowering:
    """A graph on its way to an older opset; `decomposed` tells whether a function was written out."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.builder, self.lines = model, Builder(model), list[str]()
        self.constants, self.shapes, self.decomposed = Constants(model.graph), shapes_of(model), False
        self.written: dict[str, int] = {}

    def note(self, node: onnx.NodeProto, version: int) -> None:
        """Keep a line for the manifest."""
        self.lines.append(f"opset: {title(node)} of opset {version} is written in the older form")

    def replace(self, node: onnx.NodeProto, made: Sequence[onnx.NodeProto], version: int) -> None:
        """Put `made` in the place of `node`; they are in the form of `version`."""
        self.decomposed = True
        for item in made:
            self.written[item.name] = version
        if node in self.builder.nodes:
            self.builder.nodes.remove(node)
        else:
            self.model.graph.node.remove(node)

    def numbers(self, node: onnx.NodeProto, index: int) -> list[int] | None:
        """Give the numbers of a constant input: an empty list where there is none, None where it is no constant."""
        if index >= len(node.input) or not node.input[index]:
            return []
        value = self.constants.get(node.input[index])
        return None if value is None else [int(item) for item in value.reshape(-1)]

    def node(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: object) -> str:
        """Add a node and give the name of its output."""
        made = self.builder.node(operator, inputs, output=output, **attributes)
        self.shapes.setdefault(made, self.shapes.get(inputs[0], []))
        return made
