"""Documents, and the changes that they are made of."""

import contextlib
from collections.abc import Iterator

from django.db import models, transaction
from django.utils import timezone
from pycrdt import Decoder, Doc, Text

#: What a document may grow to: its text in characters, and in bytes with what it remembers.
LONGEST_TEXT = 50_000
LARGEST_DOCUMENT = 1_000_000
#: The largest change that is looked at, in bytes.
LARGEST_UPDATE = 256_000
#: Changes that are kept one by one before they become part of the document's snapshot.
UPDATES_KEPT = 100


class Refused(Exception):
    """A change that cannot be part of the document; the text says why."""


class Document(models.Model):
    """A text that several people edit at the same time.

    Its state is a snapshot and the changes since then, both as Yjs encodes them. Changes can be
    applied in any order and more than once, and the result is the same.
    """

    name = models.CharField(max_length=60, unique=True)
    snapshot = models.BinaryField(default=b"\0\0")  # the encoding of an empty document
    #: How the text begins, for the list.
    beginning = models.CharField(max_length=120, editable=False)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-changed_at",)

    def __str__(self) -> str:
        return self.name

    def text(self) -> str:
        """The present text."""
        return str(Document.load(self.pk).get("text", type=Text))

    @classmethod
    def load(cls, pk: int) -> Doc:
        """The present state of the document ``pk``."""
        # In this order: what becomes part of the snapshot meanwhile is in both then, not in none.
        updates = list(Update.objects.filter(document=pk).values_list("data", flat=True))
        snapshot = cls.objects.values_list("snapshot", flat=True).get(pk=pk)
        doc = Doc()
        for part in (snapshot, *updates):
            doc.apply_update(bytes(part))
        return doc

    @classmethod
    def compare(cls, pk: int, state: bytes) -> tuple[bytes, bytes]:
        """What somebody with ``state`` lacks of the document ``pk``, and its own state.

        Raises:
            Refused: ``state`` is no state vector.
        """
        doc = cls.load(pk)
        with _refusing_rubbish(state):
            return doc.get_update(state), doc.get_state()

    @classmethod
    def append(cls, pk: int, update: bytes) -> bytes:
        """Add what a page has sent to the document ``pk``, and return what that has changed.

        That is what others have to be told, and all that is stored. It is empty if ``update`` has
        nothing new.

        Raises:
            Refused: ``update`` is no change of a document, or none that this one can take.
        """
        if len(update) > LARGEST_UPDATE:
            raise Refused("This change is too large.")
        with transaction.atomic():
            # One process at a time: two that compacted at once would lose what came in between.
            document = cls.objects.defer("snapshot").select_for_update().get(pk=pk)
            doc = cls.load(pk)
            change = _apply(doc, update)
            if change:
                document._keep(doc, change)
        return change

    def _keep(self, doc: Doc, change: bytes) -> None:
        text, state = _plain(doc), doc.get_update()
        if len(text) > LONGEST_TEXT or len(state) > LARGEST_DOCUMENT:
            raise Refused("The document is full.")
        fields = ["beginning", "changed_at"]
        if self.updates.count() >= UPDATES_KEPT:
            self.snapshot = state
            self.updates.all().delete()
            fields.append("snapshot")
        else:
            self.updates.create(data=change)
        self.beginning = " ".join(text[:120].split())
        self.changed_at = timezone.now()
        self.save(update_fields=fields)


class Update(models.Model):
    """A change that is not part of its document's snapshot yet."""

    document = models.ForeignKey(Document, models.CASCADE, related_name="updates")
    data = models.BinaryField()

    def __str__(self) -> str:
        return f"{len(self.data)} bytes"


@contextlib.contextmanager
def _refusing_rubbish(data: bytes) -> Iterator[None]:
    """Refuse ``data`` that cannot be decoded."""
    try:
        # It begins with a number of pages, and pycrdt makes room for all of them at once.
        if Decoder(data[:10]).read_var_uint() > len(data):
            raise ValueError("It cannot be about more pages than it has bytes.")
        yield
    except (ValueError, RuntimeError, IndexError) as error:
        raise Refused("This is no part of a document.") from error


def _apply(doc: Doc, update: bytes) -> bytes:
    """Apply ``update``, and return what is new in it, encoded anew.

    So nothing but changes gets to others, whatever bytes came in. What builds on changes that
    ``doc`` lacks changes nothing, and is not kept.
    """
    changes: list[bytes] = []
    subscription = doc.observe(lambda event: changes.append(event.update))
    with _refusing_rubbish(update):
        doc.apply_update(update)
    doc.unobserve(subscription)
    return changes[0] if changes else b""


def _plain(doc: Doc) -> str:
    """The text of ``doc``, if there is nothing else in it; pages count on that."""
    text = doc.get("text", type=Text)
    plain = str(text)
    # The length is in bytes, and counts what is no text, such as a picture, as one.
    if list(doc.keys()) != ["text"] or len(text) != len(plain.encode()) or "\r" in plain:
        raise Refused("A document has nothing but text in it.")
    return plain
