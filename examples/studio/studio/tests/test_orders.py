"""What becomes of orders: in the database, as tasks, and as progress."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from typing import Any
from unittest.mock import patch

from asgiref.sync import async_to_sync
from channels.contrib.progress import JobState, get_job
from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model
from django.test import TestCase, override_settings

from studio import orders
from studio.models import Order
from studio.painting import Painting, Parameters
from studio.tasks import SAVE_EVERY, paint, task

SMALL = Parameters(density=10, detail=40)
# Django's, or those of the package django-tasks.
BACKENDS = task.__module__.partition(".")[0] + (
    ".tasks.backends" if task.__module__.startswith("django.") else ".backends"
)
# Tasks run when they are enqueued.
AT_ONCE = {"default": {"BACKEND": f"{BACKENDS}.immediate.ImmediateBackend"}}
# Tasks wait, as there is no worker.
NEVER = {
    "default": {
        "BACKEND": "channels.contrib.tasks.ChannelsBackend",
        "OPTIONS": {"autostart": False},
    }
}


class OrderTestCase(TestCase):
    """Two customers, and a channel layer that knows of nothing."""

    @classmethod
    def setUpTestData(cls) -> None:
        create_user = get_user_model().objects.create_user
        cls.ada, cls.grace = create_user("ada"), create_user("grace")

    def setUp(self) -> None:
        async_to_sync(get_channel_layer().flush)()

    def do(self, act: Callable[..., Order], *args: Any) -> Order:
        """Do it, with what follows after the commit; the order as it is then."""
        with self.captureOnCommitCallbacks(execute=True):
            order = act(*args)
        order.refresh_from_db()
        return order

    def assert_told(self, order: Order, state: JobState) -> None:
        """Pages are told so of it, soon."""
        deadline = time.monotonic() + 10
        while (job := get_job(order.job)) is None or job.state != state:
            self.assertLess(time.monotonic(), deadline, job)
            time.sleep(0.005)


@override_settings(TASKS=AT_ONCE, STUDIO_PAUSE=0)
class PaintingTaskTests(OrderTestCase):
    def test_an_order_is_painted(self) -> None:
        order = self.do(orders.place, self.ada, SMALL)
        self.assertEqual((order.state, order.passes), ("done", SMALL.detail))
        self.assertEqual(bytes(order.canvas), b"")
        self.assertEqual(bytes(order.picture), painted(SMALL))
        job = get_job(order.job)
        assert job is not None
        self.assertEqual((job.state, job.percent), (JobState.FINISHED, 100))
        self.assertEqual((job.owner, job.title), (str(self.ada.pk), "Waves in Dawn"))
        self.assertEqual(job.text, order.painter)
        self.assertTrue(job.preview.startswith("data:image/webp;base64,"))

    def test_a_task_that_comes_twice_changes_nothing(self) -> None:
        order = self.do(orders.place, self.ada, SMALL)
        again = paint.enqueue(order.pk, order.version)
        self.assertEqual(again.return_value, "not wanted")
        self.assertEqual(paint.enqueue(order.pk + 1, 1).return_value, "not wanted")
        order.refresh_from_db()
        self.assertEqual(order.state, "done")

    def test_the_next_painter_goes_on_from_what_is_saved(self) -> None:
        painting = Painting(SMALL)
        while painting.passes < 25:
            painting.paint_pass()
        saved = {"state": "painting", "passes": 25, "canvas": painting.save()}
        order = Order.objects.create(owner=self.ada, parameters=asdict(SMALL), **saved)
        with patch.object(Painting, "paint_pass", autospec=True, side_effect=PAINT_PASS) as spy:
            paint.enqueue(order.pk, order.version)
        self.assertEqual(spy.call_count, SMALL.detail - 25)
        order.refresh_from_db()
        self.assertEqual(bytes(order.picture), painted(SMALL))

    def test_a_painter_leaves_off_when_its_version_is_not_wanted_any_more(self) -> None:
        def change(pk: int) -> None:
            orders.change(self.ada, pk, replace(SMALL, palette="Ember"))

        def enqueue(seconds: float) -> None:
            """What the customer's server does, while the painter waits for it."""
            if seconds:
                Order.objects.filter(task="", version=2).update(task="enqueued")

        for act, state in (
            (lambda pk: orders.cancel(self.ada, pk), "cancelled"),
            (change, "ordered"),
            (lambda pk: Order.objects.get(pk=pk).delete(), None),
        ):
            order = Order.objects.create(owner=self.ada, parameters=asdict(SMALL))

            def interrupted(painting: Painting, pk: int = order.pk, act: Any = act) -> None:
                PAINT_PASS(painting)
                if painting.passes == SAVE_EVERY + 5:
                    act(pk)
                self.assertLessEqual(painting.passes, SAVE_EVERY + 5)

            with (
                patch.object(Painting, "paint_pass", interrupted),
                patch("studio.tasks.time.sleep", enqueue),
            ):
                result = paint.enqueue(order.pk, order.version)
            self.assertEqual(result.return_value, "not wanted any more")
            self.assert_told(order, JobState.CANCELLED)
            after = Order.objects.filter(pk=order.pk).first()
            self.assertEqual(after and after.state, state)
        self.assertEqual(Order.objects.get(state="ordered").task, "enqueued")

    def test_a_cancelled_picture_goes_on_from_what_is_saved(self) -> None:
        order = Order.objects.create(owner=self.ada, parameters=asdict(SMALL))

        def interrupted(painting: Painting) -> None:
            PAINT_PASS(painting)
            if painting.passes == SAVE_EVERY + 5:
                orders.cancel(self.ada, order.pk)

        with patch.object(Painting, "paint_pass", interrupted):
            paint.enqueue(order.pk, order.version)
        with patch.object(Painting, "paint_pass", autospec=True, side_effect=PAINT_PASS) as spy:
            resumed = self.do(orders.resume, self.ada, order.pk)
        self.assertEqual(spy.call_count, SMALL.detail - SAVE_EVERY)
        self.assertEqual((resumed.state, resumed.version), ("done", 2))
        self.assertEqual(bytes(resumed.picture), painted(SMALL))

    def test_what_cannot_be_painted_says_so(self) -> None:
        order = Order.objects.create(owner=self.ada, parameters={"of": "an older version"})
        with self.assertLogs(level="ERROR"):
            paint.enqueue(order.pk, order.version)
        order.refresh_from_db()
        self.assertEqual(order.state, "failed")
        self.assert_told(order, JobState.FAILED)
        changed = self.do(orders.change, self.ada, order.pk, SMALL)
        self.assertEqual((changed.state, changed.version), ("done", 2))


@override_settings(TASKS=NEVER)
class OrderingTests(OrderTestCase):
    def test_an_order_waits_for_a_worker(self) -> None:
        order = self.do(orders.place, self.ada, SMALL)
        self.assertEqual(order.state, "ordered")
        self.assert_told(order, JobState.QUEUED)
        result = paint.get_result(order.task)
        self.assertEqual((result.args, result.is_finished), ([order.pk, 1], False))

    def test_a_change_is_a_new_version_with_a_task_of_its_own(self) -> None:
        order = self.do(orders.place, self.ada, SMALL)
        same = self.do(orders.change, self.ada, order.pk, SMALL)
        self.assertEqual((same.version, same.task), (1, order.task))
        Order.objects.update(state="painting", passes=15, canvas=b"...")
        other = self.do(orders.change, self.ada, order.pk, replace(SMALL, seed=2))
        self.assertEqual((other.version, other.state, other.passes), (2, "ordered", 0))
        self.assertEqual(bytes(other.canvas), b"")
        result = paint.get_result(other.task)
        self.assertEqual(result.args, [order.pk, 2])
        # It is painted before those that wait for their first painter.
        self.assertGreater(result.task.priority, paint.get_result(order.task).task.priority)

    def test_cancelling_and_going_on_happen_once(self) -> None:
        order = self.do(orders.place, self.ada, SMALL)
        for _ in range(2):
            cancelled = self.do(orders.cancel, self.ada, order.pk)
            self.assertEqual((cancelled.state, cancelled.version), ("cancelled", 1))
            self.assert_told(cancelled, JobState.CANCELLED)
        for _ in range(2):
            resumed = self.do(orders.resume, self.ada, order.pk)
            self.assertEqual((resumed.state, resumed.version), ("ordered", 2))
        Order.objects.update(state="done")
        self.assertEqual(self.do(orders.cancel, self.ada, order.pk).state, "done")
        self.assertEqual(self.do(orders.resume, self.ada, order.pk).state, "done")

    def test_orders_of_one_customer_are_bounded(self) -> None:
        first = [self.do(orders.place, self.ada, SMALL) for _ in range(orders.MOST_UNFINISHED)]
        with self.assertRaises(orders.TooMany):
            orders.place(self.ada, SMALL)
        self.do(orders.change, self.ada, first[0].pk, replace(SMALL, seed=2))
        self.do(orders.place, self.grace, SMALL)
        done = self.do(orders.cancel, self.ada, first[0].pk)
        last = self.do(orders.place, self.ada, SMALL)
        for act in (orders.resume, lambda *args: orders.change(*args, SMALL)):
            with self.assertRaises(orders.TooMany):
                act(self.ada, done.pk)
        for _ in range(orders.MOST_KEPT):
            Order.objects.update(state="done")
            last = self.do(orders.place, self.ada, SMALL)
        self.assertEqual(self.ada.orders.count(), orders.MOST_KEPT)
        self.assertEqual(self.ada.orders.first(), last)

    def test_a_queue_that_is_full_is_told(self) -> None:
        options = {"autostart": False, "capacity": 1}
        full = {"default": {**NEVER["default"], "OPTIONS": options}}
        with override_settings(TASKS=full):
            self.do(orders.place, self.ada, SMALL)
            with self.assertLogs("studio.orders", "ERROR"):
                order = self.do(orders.place, self.ada, SMALL)
        self.assertEqual(order.state, "failed")
        self.assert_told(order, JobState.FAILED)

    def test_what_was_lost_with_a_server_is_sent_again(self) -> None:
        order = self.do(orders.place, self.ada, SMALL)
        done = self.do(orders.place, self.ada, SMALL)
        done.advance(state="done")
        self.assertEqual(orders.send_what_is_lost(), 0)
        Order.objects.update(task="gone")
        self.assertEqual(orders.send_what_is_lost(), 1)
        order.refresh_from_db()
        self.assertEqual(paint.get_result(order.task).args, [order.pk, 1])


PAINT_PASS = Painting.paint_pass


@cache
def painted(parameters: Parameters) -> bytes:
    """The picture, as it comes out without any interruption."""
    painting = Painting(parameters)
    while not painting.is_finished:
        PAINT_PASS(painting)
    return painting.picture()
