"""The client: answers, refusals, busy and broken servers, a server of its own, and no server at all."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from email.utils import formatdate
from pathlib import Path
from unittest import mock

from .servers import (
    FAKE_PROGRAM,
    INTEGRATIONS,
    OwnEnvironment,
    WithFakeServer,
    WithRealProgram,
    client_module,
)

client = client_module()
Connection, Promptist = client.Connection, client.Promptist


class Answers(WithFakeServer):
    def adapter(self, **given: object) -> client.Promptist:
        return Promptist(Connection.configured({"timeout_secs": 5, **given}))

    def test_a_prompt_for_each_seed_in_their_order(self) -> None:
        adaptation = self.adapter().adapt("a cat", [9, 7, 9])
        self.assertEqual(adaptation.texts, ["a cat, drawn with 9", "a cat, drawn with 7", "a cat, drawn with 9"])
        self.assertEqual(adaptation.model, "fake 0123456789ab")
        self.assertEqual(self.server.bodies, [{"user_input": "a cat", "seeds": [9, 7, 9]}])

    def test_one_seed_is_said_as_one(self) -> None:
        self.adapter().adapt("a cat", [7])
        self.assertEqual(self.server.bodies, [{"user_input": "a cat", "seed": 7}])

    def test_many_seeds_are_asked_for_in_parts(self) -> None:
        seeds = list(range(40))
        self.assertEqual(self.adapter().adapt("a cat", seeds).texts, [f"a cat, drawn with {seed}" for seed in seeds])
        self.assertEqual([len(body["seeds"]) for body in self.server.bodies], [16, 16, 8])

    def test_settings_that_are_empty_are_left_to_the_model(self) -> None:
        settings = {
            "strength": 0,
            "keep": None,
            "ban": [],
            "must_include": ["soft light"],
            "target": "",
            "budget": 60,
        }
        self.adapter().adapt("a cat", [1], settings)
        expected = {
            "user_input": "a cat",
            "seed": 1,
            "strength": 0,
            "must_include": ["soft light"],
            "budget": 60,
        }
        self.assertEqual(self.server.bodies, [expected])

    def test_any_text_gets_there(self) -> None:
        for text in ("ein Mädchen, 少女, 🐈", "two\nlines", 'a "quoted" \\ {brace|bar} <lora:x:0.8>', "-x"):
            self.assertEqual(self.adapter().adapt(text, [1]).texts, [f"{text}, drawn with 1"])

    def test_the_token_is_sent_and_not_shown(self) -> None:
        self.server.token = "secret"
        with self.assertRaisesRegex(client.Refused, "wants a token"):
            self.adapter().adapt("a cat", [1])
        adapter = self.adapter(token="secret")
        self.assertEqual(adapter.adapt("a cat", [1]).texts, ["a cat, drawn with 1"])
        self.assertNotIn("secret", repr(adapter.connection))

    def test_a_refusal_says_what_the_server_says(self) -> None:
        with self.assertRaises(client.Refused) as caught:
            self.adapter().adapt("a cat", [1], {"strength": 3})
        self.assertEqual(str(caught.exception), "`strength`: 3 is not in 0..=1")
        self.assertEqual((caught.exception.status, caught.exception.param), (422, "strength"))

    def test_a_busy_server_is_asked_again_when_it_said(self) -> None:
        for wait in (lambda: "1", lambda: formatdate(time.time() + 2, usegmt=True)):
            self.server.scripted = [(429, {"Retry-After": wait()}, b"{}")]
            started = time.monotonic()
            self.assertEqual(self.adapter().adapt("a cat", [1]).texts, ["a cat, drawn with 1"])
            self.assertGreaterEqual(time.monotonic() - started, 0.9)

    def test_a_busy_server_that_does_not_say_is_asked_again(self) -> None:
        self.server.scripted = [(503, {}, b"not JSON"), (429, {"Retry-After": "soon"}, b"{}")]
        self.assertEqual(self.adapter().adapt("a cat", [1]).texts, ["a cat, drawn with 1"])
        self.assertEqual(len(self.server.heard), 3)

    def test_a_server_that_stays_busy_is_given_up_before_the_time_is_up(self) -> None:
        self.server.scripted = [(429, {"Retry-After": "3600"}, b'{"error": {"message": "full"}}')]
        started = time.monotonic()
        with self.assertRaisesRegex(client.Busy, r"busy \(full\)"):
            self.adapter().adapt("a cat", [1])
        self.assertLess(time.monotonic() - started, 5)

    def test_what_is_no_answer_is_an_error(self) -> None:
        for payload in (
            b"",
            b"<html>",
            b"[]",
            b"{}",
            b'{"outputs": [{"text": 3}]}',
            b'{"outputs": []}',
            b"\xff",
        ):
            self.server.scripted = [(200, {}, payload)]
            with self.assertRaises(client.PromptistError, msg=payload):
                self.adapter().adapt("a cat", [1])

    def test_an_answer_without_end_is_not_read_to_its_end(self) -> None:
        self.server.scripted = [(200, {}, b" " * 2000)]
        with (
            mock.patch.object(client, "MAX_ANSWER_BYTES", 1000),
            self.assertRaisesRegex(client.PromptistError, "more than 1000 bytes"),
        ):
            self.adapter().adapt("a cat", [1])

    def test_a_redirect_is_not_followed(self) -> None:
        self.server.scripted = [(307, {"Location": self.server.url + "/elsewhere"}, b"")]
        with self.assertRaisesRegex(client.Refused, "307"):
            self.adapter(token="secret").adapt("a cat", [1])
        self.assertEqual(len(self.server.heard), 1)

    def test_a_proxy_is_not_asked_for_this_machine(self) -> None:
        with mock.patch.dict(os.environ, {"http_proxy": "http://127.0.0.1:1", "no_proxy": ""}):
            self.assertEqual(self.adapter().adapt("a cat", [1]).texts, ["a cat, drawn with 1"])

    def test_a_seed_out_of_range_is_an_error(self) -> None:
        for seed in (-1, 2**64):
            with self.assertRaisesRegex(client.PromptistError, "seed"):
                self.adapter().adapt("a cat", [seed])


class NoAnswers(OwnEnvironment):
    def test_nobody_there(self) -> None:
        with self.assertRaisesRegex(client.Unavailable, "cannot be reached"):
            Promptist(Connection(url="http://127.0.0.1:1", timeout_secs=5)).adapt("a cat", [1])

    def test_no_such_host(self) -> None:
        with self.assertRaisesRegex(client.Unavailable, "cannot be reached"):
            Promptist(Connection(url="http://promptist.invalid", timeout_secs=5)).adapt("a cat", [1])

    def test_a_server_that_says_nothing(self) -> None:
        class Silent(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                ended.wait(10)

        ended = threading.Event()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}"
            with self.assertRaisesRegex(client.Unavailable, "timed out"):
                Promptist(Connection(url=url, timeout_secs=0.3)).adapt("a cat", [1])
        finally:
            ended.set()
            server.shutdown()
            server.server_close()

    def test_a_server_that_does_not_speak_http(self) -> None:
        import socket

        with socket.create_server(("127.0.0.1", 0)) as listener:

            def answer() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"SSH-2.0-OpenSSH\r\n")

            threading.Thread(target=answer, daemon=True).start()
            with self.assertRaisesRegex(client.Unavailable, "cannot be reached"):
                url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                Promptist(Connection(url=url, timeout_secs=5)).adapt("a cat", [1])

    def test_no_program(self) -> None:
        with self.assertRaisesRegex(client.Unavailable, "no program /no/such"):
            Promptist(Connection(program="/no/such")).adapt("a cat", [1])

    def test_settings_that_cannot_be(self) -> None:
        for given in (
            {"timeout_secs": "soon"},
            {"timeout_secs": 0},
            {"timeout_secs": "nan"},
            {"url": "localhost:7788"},
        ):
            with self.assertRaises(client.PromptistError, msg=given):
                Connection.configured(given)

    def test_the_environment_fills_in_what_is_not_given(self) -> None:
        os.environ.update(PROMPTIST_URL="http://one/", PROMPTIST_TIMEOUT="7", PROMPTIST_TOKEN="secret")
        self.assertEqual(Connection.configured(), Connection("http://one", "secret", timeout_secs=7))
        given = {"url": " http://two ", "timeout_secs": 3, "unknown": 1}
        self.assertEqual(Connection.configured(given), Connection("http://two", "secret", timeout_secs=3))


@unittest.skipIf(os.name == "nt", "the stand-in of the program is a script")
class OwnServer(OwnEnvironment):
    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = Path(folder.name) / "starts.jsonl"
        patched = mock.patch.dict(os.environ, {"FAKE_PROMPTIST_LOG": str(self.log)})
        patched.start()
        self.addCleanup(patched.stop)
        self.promptist = Promptist(Connection(program=str(FAKE_PROGRAM), timeout_secs=10))
        self.addCleanup(self.promptist.stop)

    def starts(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def test_it_is_started_once_and_stopped(self) -> None:
        for seed in (1, 2):
            self.assertEqual(self.promptist.adapt("a cat", [seed]).texts, [f"a cat, drawn with {seed}"])
        (start,) = self.starts()
        self.assertEqual(start["words"], ["serve", "--port", "0"])
        self.promptist.stop()
        self.assertTrue(gone(start["pid"]))

    def test_the_model_is_named(self) -> None:
        promptist = Promptist(Connection(program=str(FAKE_PROGRAM), model="a/folder"))
        self.addCleanup(promptist.stop)
        promptist.adapt("a cat", [1])
        self.assertEqual(self.starts()[0]["words"], ["serve", "--port", "0", "--model", "a/folder"])

    def test_one_that_died_is_started_again(self) -> None:
        self.promptist.adapt("a cat", [1])
        os.kill(self.starts()[0]["pid"], signal.SIGKILL)
        self.assertEqual(self.promptist.adapt("a cat", [2]).texts, ["a cat, drawn with 2"])
        self.assertEqual(len(self.starts()), 2)

    def test_a_refusal_does_not_start_another(self) -> None:
        with self.assertRaises(client.Refused):
            self.promptist.adapt(" ", [1])
        self.assertEqual(len(self.starts()), 1)

    def test_it_ends_with_its_host_however_that_ends(self) -> None:
        code = (
            "import sys, time; sys.path.insert(0, sys.argv[1]); import promptist_client as c;"
            "c.shared(c.Connection(program=sys.argv[2])).adapt('a cat', [1]); print('ready', flush=True);"
            "time.sleep(60 if sys.argv[3] == 'killed' else 0)"
        )
        for how in ("killed", "ends"):
            host = [sys.executable, "-c", code, str(INTEGRATIONS / "client"), str(FAKE_PROGRAM), how]
            with subprocess.Popen(host, stdout=subprocess.PIPE, text=True) as process:
                self.assertEqual(process.stdout.readline(), "ready\n")
                if how == "killed":
                    process.kill()
            self.assertTrue(gone(self.starts()[-1]["pid"]), how)

    def test_a_program_that_cannot_serve_is_started_for_each_prompt(self) -> None:
        settings = {
            "strength": 0.5,
            "keep": "words",
            "ban": ["@artists", "-x"],
            "must_include": ["b"],
            "budget": 60,
        }
        settings.update(no_artists=True, target="sd15")
        with (
            mock.patch.dict(os.environ, {"FAKE_PROMPTIST_SERVES": "no"}),
            self.assertLogs("promptist", "WARNING"),
        ):
            adaptation = self.promptist.adapt("-x\ny", [1, 2], settings)
            self.assertEqual(adaptation.texts, ["-x\ny, drawn with 1, b", "-x\ny, drawn with 2, b"])
            self.assertEqual(adaptation.answer["settings"], {**settings, "seeds": [1, 2]})
            with self.assertRaisesRegex(client.Refused, "the prompt is empty"):
                self.promptist.adapt(" ", [1])
        self.assertEqual([start["words"][0] for start in self.starts()], ["serve", "adapt", "adapt"])

    def test_a_program_that_is_none_says_so(self) -> None:
        with self.assertLogs("promptist", "WARNING"), self.assertRaises(client.PromptistError):
            Promptist(Connection(program="/bin/false")).adapt("a cat", [1])

    def test_a_setting_without_a_flag_is_an_error(self) -> None:
        for body in ({"explain": True}, {"no_such": 1}, {"do_sample": False}):
            with self.assertRaisesRegex(client.PromptistError, "no flag"):
                client.flags(body)


class RealProgram(WithRealProgram):
    def test_the_server_and_the_command_line_answer_alike(self) -> None:
        connection = Connection.configured()
        served, started = Promptist(connection), Promptist(connection)
        self.addCleanup(served.stop)
        started._cannot_serve = True
        settings = {
            "keep": "words",
            "ban": ["@artists"],
            "must_include": ["soft light"],
            "budget": 60,
            "strength": 0.8,
        }
        for text in ("a cat", "a (red:1.2) cat <lora:ink:0.8> --ar 16:9", "-x\ny"):
            ours = served.adapt(text, [1, 2, 2**53 + 1], settings)
            self.assertIsNotNone(served._server, "it does not serve")
            theirs = started.adapt(text, [1, 2, 2**53 + 1], settings)
            self.assertEqual(ours.texts, theirs.texts)
            self.assertEqual(ours.answer["receipt"], theirs.answer["receipt"])
            self.assertNotEqual(ours.texts[0], ours.texts[1])

    def test_it_refuses_as_the_stand_in_does(self) -> None:
        promptist = Promptist(Connection.configured())
        self.addCleanup(promptist.stop)
        for text, settings, param in (
            (" ", {}, "user_input"),
            ("a cat", {"strength": 3}, "strength"),
            ("a cat", {"keep": "all"}, "keep"),
            ("a cat", {"budget": 1}, "budget"),
            ("a cat", {"no_such": 1}, "no_such"),
        ):
            with self.assertRaises(client.Refused) as caught:
                promptist.adapt(text, [1], settings)
            self.assertEqual((caught.exception.status, caught.exception.param), (422, param))


def gone(pid: int) -> bool:
    """Whether a process ends within seconds."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        # Where nobody reaps orphans, the dead stay in the table.
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


if __name__ == "__main__":
    unittest.main()
