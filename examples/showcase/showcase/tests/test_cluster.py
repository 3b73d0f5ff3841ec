"""The script behind ``make demo-cluster``; it is run as a whole by the repository's tests."""

from django.test import SimpleTestCase

import cluster
from mysite.workers import CONSUMERS


class ClusterTests(SimpleTestCase):
    def test_it_runs_every_worker(self) -> None:
        self.assertEqual(cluster.CHANNELS, sorted(CONSUMERS))
