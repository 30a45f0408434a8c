"""The key-encryption key from the file keyring: `ports.KeyEncryption` without a KMS.

A wrapped key is AES-256-GCM over the 32 bytes of a data key, under a key derived from the keyring's secret
`kek.<version>`; version and what the caller binds (payer and id) are its associated data. With a KMS, write an adapter
of the same two methods: `wrap` and `unwrap` are one call each, and `SqlDataKeys` keeps what it unwrapped lately.

A new version (`facepay keys rewrap`) wraps every living key again and destroys the old version: no backup of the store
that is older than that can be opened any more.
"""

from __future__ import annotations

from pipeline.errors import SealError, SettingsError
from pipeline.keys.derivation import derive, length_prefixed
from pipeline.keys.keyring import Keyring
from pipeline.keys.seals import AesGcmSeal


class FileKek:
    """`ports.KeyEncryption` over a keyring; follows it: a version that is begun later is used from then on."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._seals: dict[int, AesGcmSeal] = {}

    @property
    def version(self) -> int:
        """The version that wraps now. Raises `SettingsError`."""
        return self._keyring.version("kek")

    def wrap(self, key: bytes, associated: bytes) -> tuple[int, bytes]:
        """See `ports.KeyEncryption`."""
        version = self.version
        return version, self._seal(version).seal(key, _bound(version, associated))

    def unwrap(self, version: int, wrapped: bytes, associated: bytes) -> bytes:
        """See `ports.KeyEncryption`."""
        return self._seal(version).open(wrapped, _bound(version, associated))

    def _seal(self, version: int) -> AesGcmSeal:
        # A version's secret never changes; one that was destroyed after this process used it wraps nothing any more.
        if version not in self._seals:
            try:
                secret = self._keyring.secret(f"kek.{version}")
            except SettingsError:
                if version in self._keyring.versions("kek"):
                    raise
                raise SealError(
                    "unknown_key_version", f"the keyring holds no key-encryption key of version {version}"
                ) from None
            self._seals[version] = AesGcmSeal(derive(secret, "wrap"))
        return self._seals[version]


def _bound(version: int, associated: bytes) -> bytes:
    return length_prefixed("facepay.kek.v1", str(version), associated)
