"""The price of entry for a store: `StoreContract`, the promises of `storage.store.Store` as tests.

class TestMyStore(StoreContract):
    @pytest.fixture
    def connect(self, clock):
        return lambda: MyStore(clock=clock)      # each call: one more connection to the same empty database
"""

from storage.testing.attempts import AttemptContract
from storage.testing.children import ChildContract
from storage.testing.races import RaceContract
from storage.testing.requests import RequestContract
from storage.testing.samples import VirtualClock
from storage.testing.sweeps import SweepContract
from storage.testing.transfers import TransferContract
from storage.testing.trials import TrialContract

__all__ = ["StoreContract", "VirtualClock"]


class StoreContract(
    SweepContract, AttemptContract, RequestContract, RaceContract, TransferContract, ChildContract, TrialContract
):
    """Everything that a store promises. Override `connect`."""
