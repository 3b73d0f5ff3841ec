"""What ``manage.py create_demo`` makes for this app."""

from pycrdt import Doc, Text

from .models import Document

WELCOME = """\
Welcome

Type here, and open this page a second time, or on your phone.
Everybody who has it open types in the same text.

Stop the server, and go on typing. When it is back, nothing is lost,
and what others have typed meanwhile is there, too.
"""


def create() -> None:
    """A document, unless it exists already."""
    document, new = Document.objects.get_or_create(name="Welcome")
    if new:
        Document.append(document.pk, Doc({"text": Text(WELCOME)}).get_update())
