"""Who answers in a test: the stand-in, or the real server where PROMPTIST_BIN names one."""

from __future__ import annotations

import importlib.util
import os
import sys
import unittest
from pathlib import Path
from types import ModuleType

from .fake_server import FakeServer

INTEGRATIONS = Path(__file__).parent.parent
FAKE_PROGRAM = Path(__file__).parent / "fake_promptist.py"
REAL_PROGRAM = os.environ.get("PROMPTIST_BIN", "")
VARIABLES = ("PROMPTIST_URL", "PROMPTIST_TOKEN", "PROMPTIST_BIN", "PROMPTIST_MODEL", "PROMPTIST_TIMEOUT")


def client_module() -> ModuleType:
    """The client itself, not one of its copies."""
    name = "promptist_client_source"
    if name not in sys.modules:
        path = INTEGRATIONS / "client" / "promptist_client.py"
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class OwnEnvironment(unittest.TestCase):
    """Nobody else's settings reach the test, and none of it leave."""

    def setUp(self) -> None:
        self.before = {name: os.environ.pop(name, None) for name in VARIABLES}
        self.addCleanup(self.restore)

    def restore(self) -> None:
        for name, value in self.before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class WithFakeServer(OwnEnvironment):
    """`self.server` answers, and the environment names it."""

    def setUp(self) -> None:
        super().setUp()
        self.server = FakeServer()
        self.addCleanup(self.server.close)
        os.environ["PROMPTIST_URL"] = self.server.url


class WithRealProgram(OwnEnvironment):
    """The real program is started by the client. Skipped where there is none."""

    def setUp(self) -> None:
        if not REAL_PROGRAM:
            self.skipTest("PROMPTIST_BIN names no program")
        super().setUp()
        os.environ["PROMPTIST_BIN"] = str(Path(REAL_PROGRAM).resolve())
        os.environ["PROMPTIST_TIMEOUT"] = "60"
