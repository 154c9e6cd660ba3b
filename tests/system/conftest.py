"""Apunto on the stack that most end-to-end tests share."""

from collections.abc import Iterator

import pytest

from tests.conftest import Stack
from tests.support.apunto import Apunto


@pytest.fixture
def apunto(stack: Stack) -> Iterator[Apunto]:
    """Apunto's side of it; open an account of your own."""
    with Apunto(stack) as client:
        yield client
