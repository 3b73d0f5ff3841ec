"""Sessions that outlive a request: saved without undoing what others have saved meanwhile.

Django loads a session, and at the end of the request writes all of it back. On a connection that
lasts for hours this would restore what was in it hours ago. A session made here remembers what it
loaded, and saves the difference: what was set, changed (also within a value) or deleted here, on
top of what the store has at that moment.
"""

from inspect import getattr_static
from typing import Any, TypeVar, cast

from django.contrib.sessions.backends.base import SessionBase, UpdateError

from ..exceptions import SessionEnded

__all__ = ["merging"]

_S = TypeVar("_S", bound=SessionBase)

_ENDED = (
    "The session has ended since it was loaded: somebody signed out, it was deleted or got another "
    "key (as when somebody signs in), or it has expired. Nothing was saved. Close the connection, "
    'or call flush() on scope["session"] to begin a new session.'
)


def merging(store: type[_S]) -> type[_S]:
    """The subclass of a ``SessionStore`` whose sessions save their changes only.

    It is kept on the class itself, so that both can be forgotten together.
    """
    if issubclass(store, _Merging):
        return store
    found = vars(store).get("_channels_merging")
    if found is None:
        names = {name: getattr(store, name) for name in ("__module__", "__qualname__", "__doc__")}
        # What a class method remembers on its class, both go by (where files are stored).
        for name in dir(store):
            if isinstance(getattr_static(store, name), classmethod) and not name.startswith("__"):
                names[name] = getattr(store, name)
        found = type(store.__name__, (_Merging, store), names)
        store._channels_merging = found  # type: ignore[attr-defined]
    return cast("type[_S]", found)


def is_unsaved(session: Any, name: str) -> bool:
    """Whether a value was put into a session, and not saved since."""
    images = getattr(session, "_images", None)
    return bool(session.modified) and (images is None or name not in images)


class _Merging(SessionBase):
    _session_cache: dict[str, Any]

    # What was loaded, or saved last: an image of each value. None before that.
    _images: dict[str, Any] | None = None
    # The store had nothing, so this is a new session, which has not been saved yet.
    _begun = False

    def load(self) -> dict[str, Any]:
        key, modified, self.modified = self.session_key, self.modified, False
        return self._loaded(super().load(), key, modified)

    async def aload(self) -> dict[str, Any]:
        key, modified, self.modified = self.session_key, self.modified, False
        return self._loaded(await super().aload(), key, modified)

    def _loaded(self, state: dict[str, Any], key: str | None, modified: bool) -> dict[str, Any]:
        # Where there is nothing, stores forget the key, or create something: with another key,
        # or, if all is in the cookie, with the same, but modified.
        self._begun = self.session_key != key or self.modified
        self.modified = self.modified or modified
        self._images = self._images_of(state)
        return state

    def save(self, must_create: bool = False) -> None:
        if not must_create:
            self._refresh()
        try:
            super().save(must_create)
        except UpdateError as error:
            raise SessionEnded(_ENDED) from error
        self._saved()

    async def asave(self, must_create: bool = False) -> None:
        if not must_create:
            await self._arefresh()
        try:
            await super().asave(must_create)
        except UpdateError as error:
            raise SessionEnded(_ENDED) from error
        self._saved()

    def _saved(self) -> None:
        self._begun = False
        self._images = self._images_of(self._session_cache)

    def cycle_key(self) -> None:
        self._refresh()
        super().cycle_key()

    async def acycle_key(self) -> None:
        await self._arefresh()
        await super().acycle_key()

    def _refresh(self) -> None:
        """Bring what is in memory up to what the store has, under what was changed here.

        Raises:
            SessionEnded: the store does not have it any more.
        """
        if not hasattr(self, "_session_cache"):
            self.keys()  # loads it: it is up to date then
        elif self.session_key and not self._begun:
            stored = self.__class__(self.session_key)
            state = stored.load()
            if stored._begun:
                if stored.session_key:
                    stored.delete()  # an empty one, which loading has created (files)
                raise SessionEnded(_ENDED)
            self._merge(state, stored._images or {})

    async def _arefresh(self) -> None:
        if not hasattr(self, "_session_cache"):
            await self.akeys()
        elif self.session_key and not self._begun:
            stored = self.__class__(self.session_key)
            state = await stored.aload()
            if stored._begun:
                if stored.session_key:
                    await stored.adelete()
                raise SessionEnded(_ENDED)
            self._merge(state, stored._images or {})

    def _merge(self, state: dict[str, Any], now: dict[str, Any]) -> None:
        """Put the changes that were made here on top of ``state``, which others have saved."""
        ours, before = self._session_cache, self._images
        if before is None:  # emptied without a look at it: all that is there was put there here
            self._images = now
            return
        images = self._images_of(ours)
        changed = {key for key in ours if key not in before or images[key] != before[key]}
        deleted = before.keys() - ours.keys()
        merged = {}
        for key, value in state.items():
            if key in changed or images.get(key, before) == now[key]:
                merged[key] = ours[key]  # the object that the consumer may hold
            elif key not in deleted:
                merged[key] = value
        merged.update({key: value for key, value in ours.items() if key in changed})
        self._session_cache = merged
        self._images = now

    def _images_of(self, state: dict[str, Any]) -> dict[str, Any]:
        """What each value is at this moment, whatever happens to it afterwards."""
        return {key: self._image(value) for key, value in state.items()}

    def _image(self, value: Any) -> Any:
        try:
            return self.serializer().dumps({"": value})
        except Exception:  # noqa: BLE001 - the store may have a way of its own to encode it
            return object()  # equal to nothing, so the value counts as changed
