"""Decoders: what a model's outputs mean.

Importing this package costs nothing: numpy and numba come with the decoder that needs them.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, cast

from modelfarm.errors import RecipeError

if TYPE_CHECKING:
    from modelfarm.decoders.prediction import Decoder


_OF_HEADS = ("yolo_face",)  # decoders that know what a graph leaves out that was cut before its decode


class Choice(Protocol):
    """What a recipe says of its decoder: a name of the farm's, or a module of the model's own."""

    @property
    def name(self) -> str:
        """Return the decoder's name, or `module`."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Return what the decoder is told, with all defaults."""

    @property
    def module(self) -> Path | None:
        """Return the model's own module, which defines `Decoder(options)`."""


def load(choice: Choice, folder: Path, edits: Mapping[str, Any] | None = None) -> Decoder:
    """Make the decoder that a recipe chose.

    `folder` is the recipe's; files that options name lie there. `edits` is what the edits of the graph had to tell, by
    the edit's name: the decoder reads outputs as these left them. Raises RecipeError where the model's own module
    cannot be imported or defines no decoder, or where an option or an edit does not fit.
    """
    decoder = _chosen(choice, folder, (edits or {}).get("cut_decode"))
    if edits:
        from modelfarm.decoders.edited import Edited, changes_outputs

        if changes_outputs(edits):
            return Edited(decoder, edits)
    return decoder


def _chosen(choice: Choice, folder: Path, heads: Mapping[str, Any] | None) -> Decoder:
    if choice.module is not None:
        return _own(choice.module, choice.options)
    module = importlib.import_module(f"{__name__}.{choice.name}")
    if not heads:
        return cast("Decoder", module.Decoder(choice.options, folder))
    if choice.name not in _OF_HEADS:
        raise RecipeError(f"decoder {choice.name} cannot decode raw heads, which cut_decode leaves",
                          remedy=f"cut_decode is for {', '.join(_OF_HEADS)}: take split_outputs or normalise_boxes")
    return cast("Decoder", module.Decoder(choice.options, folder, heads))


def _own(file: Path, options: Mapping[str, Any]) -> Decoder:
    module = _import(file)
    maker = getattr(module, "Decoder", None)
    if not callable(maker):
        raise RecipeError(f"{file} defines no Decoder",
                          remedy="define `class Decoder` with __init__(options), columns and decode")
    try:
        decoder = maker(options)
    except Exception as error:
        raise RecipeError(f"{file}: Decoder(options) failed: {type(error).__name__}: {error}") from error
    missing = [name for name in ("columns", "decode") if not callable(getattr(decoder, name, None))]
    if missing:
        raise RecipeError(f"{file}: Decoder has no method {' and no '.join(missing)}")
    return cast("Decoder", decoder)


def _import(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"modelfarm_decoder_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{file} is no Python module")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RecipeError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    return module
