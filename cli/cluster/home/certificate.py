"""A key and a certificate signed by itself, by which the parts of one foreign server know one another.

Who shows it can read the file that it is in, so it is its own authority: nothing else has to be trusted, kept or
renewed. Python's library cannot write X.509 (RFC 5280); this certificate needs only these few fields of it.
"""

from __future__ import annotations

import ipaddress
import secrets

from Crypto.Hash import SHA256
from Crypto.IO import PEM
from Crypto.PublicKey import ECC
from Crypto.Signature import DSS
from Crypto.Util.asn1 import (
    DerBitString,
    DerInteger,
    DerObject,
    DerObjectId,
    DerOctetString,
    DerSequence,
    DerSetOf,
)

_VERSION_3 = 2
_ECDSA_WITH_SHA256, _COMMON_NAME, _ALTERNATIVE_NAME = "1.2.840.10045.4.3.2", "2.5.4.3", "2.5.29.17"
_UTF8_STRING, _UTC_TIME, _GENERALIZED_TIME, _IP_ADDRESS = 0x0C, 0x17, 0x18, 7
# A clock may be wrong, and each start makes another certificate. The second is RFC 5280's word for "no end".
_FROM, _UNTIL = b"000101000000Z", b"99991231235959Z"


def key_and_certificate(host: str) -> str:
    """PEM of a new private key (P-256) and its certificate, for both ends of a connection to an IP address."""
    key = ECC.generate(curve="P-256")
    algorithm = _sequence(DerObjectId(_ECDSA_WITH_SHA256).encode())
    public_key = key.public_key().export_key(format="DER")
    assert isinstance(public_key, bytes), "DER is bytes"
    to_sign = _to_be_signed(public_key, algorithm, host)
    signature = DSS.new(key, "deterministic-rfc6979", encoding="der").sign(SHA256.new(to_sign))
    certificate = _sequence(to_sign, algorithm, DerBitString(signature).encode())
    private_key = key.export_key(format="PEM", use_pkcs8=True)
    return f"{private_key}\n{PEM.encode(certificate, 'CERTIFICATE')}\n"


def _to_be_signed(public_key: bytes, algorithm: bytes, host: str) -> bytes:
    """TBSCertificate: issuer and subject are one."""
    name = _name("Boveda")
    validity = _sequence(DerObject(_UTC_TIME, _FROM).encode(), DerObject(_GENERALIZED_TIME, _UNTIL).encode())
    version, serial = DerInteger(_VERSION_3, explicit=0).encode(), DerInteger(1 + secrets.randbits(63)).encode()
    return _sequence(version, serial, algorithm, name, validity, name, public_key, _extensions(host))


def _name(common: str) -> bytes:
    value = DerObject(_UTF8_STRING, common.encode()).encode()
    return _sequence(DerSetOf([_sequence(DerObjectId(_COMMON_NAME).encode(), value)]).encode())


def _extensions(host: str) -> bytes:
    """The one that says which address it is for: clients look nowhere else."""
    names = _sequence(DerOctetString(ipaddress.ip_address(host).packed, implicit=_IP_ADDRESS).encode())
    alternative = _sequence(DerObjectId(_ALTERNATIVE_NAME).encode(), DerOctetString(names).encode())
    return DerSequence([alternative], explicit=3).encode()


def _sequence(*encoded: bytes) -> bytes:
    return DerSequence(list(encoded)).encode()
