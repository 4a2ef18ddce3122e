import pytest

from common.blobstore.memory import MemoryStore
from tests.contract.blobstore.suite import BlobStoreContract


class TestMemory(BlobStoreContract):
    store = pytest.fixture(lambda self: MemoryStore())
