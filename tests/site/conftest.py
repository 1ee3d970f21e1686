"""Shelves for tests of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.site.shelf import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Return an empty store."""
    return Shelf(folder=tmp_path)
