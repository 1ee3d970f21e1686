"""Parsing ONNX with TensorRT's own parser: what it cannot take is told with every node, not the first one alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, List

from jobkit import GraphError
from nodenames import NodeNames
from trtapi import Api
from trtlog import make_log

LISTED = 12  # nodes that a message names before it only counts
REMEDY = "write it in the model with other operators, or cut it off (make edit KEEP=...) and compute it outside"
DAMAGED = "the file is damaged: make the ONNX artifact anew"

# What the parser says of a node that it does not know at all; anything else is about the node's form.
UNKNOWN = ("false", 'creator && "Plugin not found')


@dataclass(frozen=True)
class Parsed:
    """A network with all that it lives on: TensorRT's objects use one another, and none may go before the others."""

    api: Api
    log: Any
    builder: Any
    network: Any
    parser: Any

    @property
    def inputs(self) -> List[Any]:
        """Give the network's inputs."""
        return [self.network.get_input(index) for index in range(self.network.num_inputs)]

    @property
    def outputs(self) -> List[Any]:
        """Give the network's outputs."""
        return [self.network.get_output(index) for index in range(self.network.num_outputs)]

    @property
    def layers(self) -> List[Any]:
        """Give the network's layers."""
        return [self.network.get_layer(index) for index in range(self.network.num_layers)]


@dataclass(frozen=True)
class Failure:
    """What the parser cannot take: the node, its operator, and why; both are empty where it is about no node."""

    node: str
    operator: str
    reason: str

    def __str__(self) -> str:
        """Say it in one line."""
        what = " ".join(part for part in (self.operator, self.node) if part)
        return f"{what}: {self.reason}" if what else self.reason


def parse(api: Api, file: Path) -> Parsed:
    """Parse the ONNX file into a network.

    Raises GraphError naming each node that TensorRT cannot take, with its operator.
    """
    log = make_log(api.trt)
    builder = api.trt.Builder(log)
    network = api.network(builder)
    parser = api.trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(file)):
        raise _refusal(api, [*_failures(api, parser, file)] or [Failure("", "", log.last or "it did not say why")])
    # A file that is no ONNX at all may parse, into nothing.
    if not network.num_inputs or not network.num_outputs:
        raise GraphError(f"{file.name} holds no graph with inputs and outputs", DAMAGED)
    return Parsed(api, log, builder, network, parser)


def _failures(api: Api, parser: Any, file: Path) -> List[Failure]:
    names = NodeNames(file)
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return [Failure(*api.culprit(error, names), _reason(error)) for error in errors]


def _reason(error: Any) -> str:
    said = " ".join(str(error.desc()).split())
    if said.startswith(UNKNOWN):
        return "there is no such operator"
    # Assertions are told as code; what stands in quotes is for people.
    return said.split(' && "')[-1].rstrip('"') if ' && "' in said else said


def _refusal(api: Api, failures: List[Failure]) -> GraphError:
    about = [failure for failure in failures if failure.operator or failure.node]
    if not about:
        return GraphError(f"{api.title} {api.version} cannot read the graph: {failures[0].reason}", DAMAGED)
    more = [f"and {len(about) - LISTED} more"] if len(about) > LISTED else []
    listed = "; ".join([*map(str, about[:LISTED]), *more])
    count = f"{len(about)} nodes" if len(about) > 1 else "a node"
    return GraphError(f"{api.title} {api.version} cannot take {count} of the graph: {listed}", REMEDY)
