"""Asserts of the contract explain themselves, though it is no test module."""

import pytest

for part in ("attempts", "races", "requests", "sweeps"):
    pytest.register_assert_rewrite(f"storage.testing.{part}")
