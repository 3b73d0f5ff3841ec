"""Documents without a socket: what they take, keep and refuse."""

from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.test import TestCase
from django.urls import reverse
from pycrdt import Doc, Map, Text

from editor import demo
from editor.models import (
    LARGEST_UPDATE,
    LONGEST_TEXT,
    UPDATES_KEPT,
    Document,
    Refused,
    Update,
)


def typed(text: str, base: Document | None = None) -> bytes:
    """What a page sends whose user puts ``text`` in front of everything."""
    doc = Document.load(base.pk) if base else Doc()
    before = doc.get_state()
    doc.get("text", type=Text).insert(0, text)
    return doc.get_update(before)


class DocumentTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.document = Document.objects.create(name="Plan")

    def assert_refused(self, update: bytes, text: str) -> None:
        before = Document.load(self.document.pk).get_update()
        with self.assertRaisesMessage(Refused, text):
            Document.append(self.document.pk, update)
        self.document.refresh_from_db()
        self.assertEqual(Document.load(self.document.pk).get_update(), before)

    def test_changes_converge_in_any_order_and_more_than_once(self) -> None:
        one, two = typed("one "), typed("two ")
        other = Document.objects.create(name="Other")
        for update in (one, two, one):
            Document.append(self.document.pk, update)
        for update in (two, one, two):
            Document.append(other.pk, update)
        self.assertEqual(self.document.text(), other.text())
        self.assertCountEqual(self.document.text().split(), ["one", "two"])
        self.assertEqual(self.document.updates.count(), 2)

    def test_only_what_is_new_is_stored_and_passed_on(self) -> None:
        update = typed("Hello 😀")
        self.assertEqual(Document.append(self.document.pk, update + b"rubbish behind it"), update)
        self.assertEqual(Document.append(self.document.pk, update), b"")
        self.assertEqual(bytes(self.document.updates.get().data), update)

    def test_many_changes_become_one(self) -> None:
        for number in range(UPDATES_KEPT + 2):
            Document.append(self.document.pk, typed(f"{number} ", self.document))
            self.document.refresh_from_db()
        self.assertEqual(self.document.updates.count(), 1)
        words = [str(number) for number in reversed(range(UPDATES_KEPT + 2))]
        self.assertEqual(self.document.text().split(), words)
        self.assertTrue(self.document.beginning.startswith("101 100 99"))

    def test_changes_that_are_compacted_while_the_document_is_read(self) -> None:
        Document.append(self.document.pk, typed("Hello"))
        state = Document.load(self.document.pk).get_update()
        queries = []

        def compact(execute: Any, sql: str, *arguments: Any) -> Any:
            """Another process does it before the second query."""
            queries.append(sql)
            if len(queries) == 2:
                Document.objects.update(snapshot=state)
                Update.objects.all().delete()
            return execute(sql, *arguments)

        with connection.execute_wrapper(compact):
            doc = Document.load(self.document.pk)
        self.assertEqual(doc.get_update(), state)

    def test_rubbish_is_refused(self) -> None:
        Document.append(self.document.pk, typed("Hello"))
        for rubbish in (
            b"",
            b"x",
            b"\xff" * 40,
            typed("cut off")[:-2],
            b"\0" + b"\xff" * 9,
            b"\xff\xff\xff\x7f",
        ):
            with self.subTest(rubbish=rubbish):
                self.assert_refused(rubbish, "This is no part of a document.")

    def test_what_builds_on_changes_that_are_missing_is_not_kept(self) -> None:
        doc = Doc({"text": Text("Lost. ")})
        lost = doc.get_state()
        doc.get("text", type=Text).insert(6, "Found.")
        self.assertEqual(Document.append(self.document.pk, doc.get_update(lost)), b"")
        self.assertEqual(self.document.updates.count(), 0)

    def test_nothing_but_text(self) -> None:
        picture = Doc({"text": Text("a")})
        picture.get("text", type=Text).insert_embed(0, {"image": "cat.png"})
        for doc in (picture, Doc({"pictures": Map({"cat": "png"})}), Doc({"text": Text("a\rb")})):
            self.assert_refused(doc.get_update(), "A document has nothing but text in it.")

    def test_a_document_gets_full(self) -> None:
        Document.append(self.document.pk, typed("x" * LONGEST_TEXT))
        self.assert_refused(typed("y"), "The document is full.")
        self.assert_refused(b"\0" * (LARGEST_UPDATE + 1), "This change is too large.")

    def test_compare(self) -> None:
        Document.append(self.document.pk, typed("Hello"))
        page = Doc()
        lacking, state = Document.compare(self.document.pk, page.get_state())
        page.apply_update(lacking)
        self.assertEqual(page.get_state(), state)
        for rubbish in (b"", b"rubbish", b"\x80", b"\xff\xff\xff\x7f"):
            with self.subTest(rubbish=rubbish), self.assertRaises(Refused):
                Document.compare(self.document.pk, rubbish)


class PageTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.alice = get_user_model().objects.create_user("alice")

    def test_pages_lead_to_sign_in(self) -> None:
        document = Document.objects.create(name="Plan")
        for page in (reverse("editor"), reverse("document", args=[document.pk])):
            self.assertRedirects(self.client.get(page), f"{reverse('sign-in')}?next={page}")

    def test_begin_a_document(self) -> None:
        self.client.force_login(self.alice)
        answer = self.client.post(reverse("editor"), {"name": "  Shopping   list "})
        document = Document.objects.get(name="Shopping list")
        self.assertRedirects(answer, reverse("document", args=[document.pk]))
        answer = self.client.post(reverse("editor"), {"name": "shopping LIST"})
        self.assertContains(answer, "There is already a document with this name.")

    def test_list_and_page(self) -> None:
        self.client.force_login(self.alice)
        for _ in range(2):
            demo.create()
        document = Document.objects.get()
        self.assertContains(self.client.get(reverse("editor")), "Welcome Type here, and open")
        page = self.client.get(reverse("document", args=[document.pk]))
        self.assertContains(page, f'data-socket="/ws/editor/{document.pk}/"')
        self.assertContains(page, f'maxlength="{LONGEST_TEXT}"')
        self.assertEqual(self.client.get(reverse("document", args=[0])).status_code, 404)
