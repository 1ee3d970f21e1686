"""The layers to keep in fp32: as few as are needed for an engine of half precision to pass.

Each answer costs the build of an engine. QuickXplain asks about k log(n / k) times for k of n layers:
U. Junker, QuickXplain: Preferred Explanations and Relaxations for Over-Constrained Problems, AAAI 2004.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Callable, Dict, FrozenSet, List, Optional, Sequence

Passes = Callable[[FrozenSet[str]], bool]


class Spent(Exception):  # noqa: N818 - no error: the search ends with the best that it has
    """As many engines were built as may be."""


class Search:
    """One search, which asks nothing twice and remembers the smallest set that passed."""

    def __init__(self, layers: Sequence[str], passes: Passes, most: int) -> None:
        """Prepare to ask `passes` at most `most` times about sets of `layers`, which lie in the network's order."""
        self.layers = list(dict.fromkeys(layers))
        self.passes = passes
        self.left = most
        self.answers: Dict[FrozenSet[str], bool] = {}

    def run(self) -> Optional[List[str]]:
        """Give the layers to keep, in their order; None where not even all of them help."""
        if self.ask(frozenset()):
            return []
        if not self.ask(frozenset(self.layers)):
            return None
        with suppress(Spent):
            self.ask(frozenset(self.explain([], False, self.layers)))
        # What the algorithm ends with is right where more layers never harm; what has passed is right in any case.
        best = min((kept for kept, passed in self.answers.items() if passed), key=len)
        return [layer for layer in self.layers if layer in best]

    def ask(self, kept: FrozenSet[str]) -> bool:
        """Say whether an engine passes that keeps these layers."""
        if kept not in self.answers:
            if not self.left:
                raise Spent
            self.left -= 1
            self.answers[kept] = self.passes(kept)
        return self.answers[kept]

    def explain(self, kept: Sequence[str], grown: bool, candidates: Sequence[str]) -> List[str]:
        """Give the fewest of `candidates` that pass together with `kept`; `grown`: `kept` has just become more."""
        if grown and self.ask(frozenset(kept)):
            return []
        if len(candidates) == 1:
            return list(candidates)
        middle = len(candidates) // 2
        first, second = candidates[:middle], candidates[middle:]
        of_second = self.explain([*kept, *first], bool(first), second)
        of_first = self.explain([*kept, *of_second], bool(of_second), first)
        return [*of_first, *of_second]


def layers_to_keep(layers: Sequence[str], passes: Passes, most: int = 64) -> Optional[List[str]]:
    """Find a smallest set of layers that must stay in fp32, by building at most `most` engines, of which two are sure.

    ``passes(kept)`` builds an engine with these layers in fp32 and says whether it passes. Gives no layer where none
    is needed, None where even an engine with all of them kept does not pass.
    """
    return Search(layers, passes, max(most, 2)).run()
