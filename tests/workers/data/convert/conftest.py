"""A folder of data sets, and a call that converts one source into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from workers.data.convert.convert import ConversionRequest, Converted, convert


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SWEEPBOARD_DATA", raising=False)
    return tmp_path / "data"


@pytest.fixture
def take(root: Path) -> Callable[..., Converted]:
    def take(source: Path, name: str | None = "mine", **more: object) -> Converted:
        request = ConversionRequest(source=source, root=root, name=name, **more)
        (converted,) = convert(request, lambda done, total: None)
        return converted

    return take
