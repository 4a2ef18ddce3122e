import pytest

from tests.contract.blobstore.suite import BlobStoreContract


class TestMinio(BlobStoreContract):
    store = pytest.fixture(lambda self, minio_store: minio_store)
