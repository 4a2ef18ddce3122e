import pytest

from tests.contract.blobstore.suite import BlobStoreContract


class TestSeaweedfs(BlobStoreContract):
    store = pytest.fixture(lambda self, seaweed_store: seaweed_store)
