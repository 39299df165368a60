"""Each integration is installed as a folder by itself, and has the client as it is."""

from __future__ import annotations

import importlib.util
import unittest

from .servers import INTEGRATIONS


class Copies(unittest.TestCase):
    def test_the_copies_are_the_client(self) -> None:
        spec = importlib.util.spec_from_file_location("sync_client", INTEGRATIONS / "sync_client.py")
        sync_client = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sync_client)
        self.assertEqual(sync_client.differing(), [], "run integrations/sync_client.py")


if __name__ == "__main__":
    unittest.main()
