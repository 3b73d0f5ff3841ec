"""The public keys of an issuer, where it publishes them (RFC 7517)."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..._runtime.clock import now
from ...exceptions import TokenRefused, VerifierUnavailable

__all__ = ["KeySet"]

# Seconds for which keys are not asked for again, unless a token names another one.
_FRESH = 300.0

# Seconds for which keys are good while the issuer cannot be reached.
_USABLE = 86400.0

# Seconds between two requests: tokens that name unknown keys cost nothing to make.
_PAUSE = 10.0

# Seconds that the issuer has to answer.
_TIMEOUT = 5.0


class KeySet:
    """Finds keys by their identifier, and fetches them when they are needed.

    Args:
        url: where they are.
        jwt: the module of PyJWT.
    """

    def __init__(self, url: str, jwt: Any) -> None:
        self._jwt = jwt
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=_TIMEOUT)
        self._keys: dict[Any, Any] = {}
        self._fetched_at = self._asked_at = float("-inf")
        self._failure: str | None = None
        # One thread: those who need a key meanwhile wait for the same request.
        self._thread = ThreadPoolExecutor(1, "channels-jwks")

    async def find(self, key_id: Any) -> Any:
        """The key of this identifier; with None the only one there is.

        Raises:
            TokenRefused: the issuer has no such key.
            VerifierUnavailable: that cannot be found out now.
        """
        if not isinstance(key_id, str | None):
            raise TokenRefused("the identifier of its key is no text")
        key = self._keys.get(key_id)
        if self._to_be_asked(key):
            loop = asyncio.get_running_loop()
            asking = loop.run_in_executor(self._thread, self._fetch, key_id)
            if key is None or not self._is_away():
                await asking
                key = self._keys.get(key_id)
        if key is None and self._failure is not None:
            raise VerifierUnavailable(f"the keys cannot be fetched ({self._failure})")
        if key is None:
            raise TokenRefused("the issuer has no key of that identifier")
        return key

    def _is_away(self) -> bool:
        """Whether known keys are good without waiting for an issuer that did not answer lately."""
        return self._failure is not None and now() - self._fetched_at <= _USABLE

    def _to_be_asked(self, key: Any) -> bool:
        needed = key is None or now() - self._fetched_at > _FRESH
        return needed and now() - self._asked_at > _PAUSE

    def _fetch(self, key_id: Any) -> None:
        """Ask the issuer, in the one thread, unless that was done for another meanwhile."""
        if not self._to_be_asked(self._keys.get(key_id)):
            return
        try:
            found = self._jwt.PyJWKSet.from_dict(self._client.fetch_data()).keys
        except Exception as error:  # noqa: BLE001 - the network, and whatever comes from there
            self._failure = f"{type(error).__name__}: {error}"
            if now() - self._fetched_at > _USABLE:
                self._keys = {}
            return
        finally:
            self._asked_at = now()  # and not before: others are to wait for the answer
        self._failure = None
        self._fetched_at = now()
        keys = {key.key_id: key.key for key in found}
        if len(found) == 1:
            keys[None] = found[0].key
        self._keys = keys
