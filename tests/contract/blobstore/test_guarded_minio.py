import pytest

from common.blobstore.guarded import GuardedStore
from tests.contract.blobstore.suite import BlobStoreContract


class TestGuardedMinio(BlobStoreContract):
    store = pytest.fixture(lambda self, minio_store: GuardedStore(minio_store, "n"))
