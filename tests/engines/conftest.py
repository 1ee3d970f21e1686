"""What tests of engines share beside what all tests do."""

from __future__ import annotations

import pytest

from tests.images.registry import Registry
from tests.registry.conftest import own_name


@pytest.fixture
def place(registry: Registry, request: pytest.FixtureRequest) -> str:
    """Return a path in the registry that no other test has."""
    return f"{registry.host}/{own_name(request)}"
