import pytest

from common.blobstore.guarded import GuardedStore
from common.blobstore.memory import MemoryStore
from tests.contract.blobstore.suite import BlobStoreContract


class TestGuarded(BlobStoreContract):
    store = pytest.fixture(lambda self: GuardedStore(MemoryStore(), "n"))
