"""Asserts of the contracts explain themselves, though they stand in no test module. Run before those are loaded."""

import pytest

for part in ("attempts", "races", "requests", "sweeps", "transfers", "trials"):
    pytest.register_assert_rewrite(f"storage.testing.{part}")
pytest.register_assert_rewrite("methods.testing", "workers.testing")
