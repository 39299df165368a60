"""The node in a stand-in of ComfyUI: loaded, validated, run, cached, its metadata read back from the image."""

from __future__ import annotations

import json
import os
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from .hosts import comfyui, png_metadata
from .servers import INTEGRATIONS, OwnEnvironment, WithFakeServer, WithRealProgram

PACK = INTEGRATIONS / "comfyui"
MAX_SEED = 2**64 - 1


def graph(output: int = 0, noise_seed: int = 5, **inputs: Any) -> dict[str, Any]:
    """Text, adapted, sampled, saved. `output` of the node goes to the sampler. Numbers are as a browser sends them."""
    asked = {"text": "a cat", "seed": 7, "count": 1, "strength": 1, "keep": "words", **inputs}
    return {
        "2": {"class_type": "PromptistAdapt", "inputs": asked},
        "3": {"class_type": "Sampler", "inputs": {"text": ["2", output], "noise_seed": noise_seed}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}},
    }


class InComfyUI(OwnEnvironment):
    def setUp(self) -> None:
        super().setUp()
        self.host = comfyui.Host(PACK)
        self.addCleanup(self.host.close)
        self.addCleanup(self.host.pack.promptist_client.stop_shared)

    def records(self, run: comfyui.Run, node_id: str = "2") -> list[dict[str, Any]]:
        """What each saved image knows of the prompt: all of a run know the same."""
        known = [png_metadata.texts_of(file) for _, file in run.saved]
        self.assertTrue(known and all(texts["promptist"] == known[0]["promptist"] for texts in known))
        return json.loads(known[0]["promptist"])[node_id]


class Node(InComfyUI, WithFakeServer):
    def test_it_adapts_and_keeps_the_original(self) -> None:
        run = self.host.queue(graph(), {"extra_pnginfo": {"workflow": {"nodes": []}}})
        self.assertEqual(run.outputs("2"), [["a cat, drawn with 7"]] * 2 + [["a cat"], [""]])
        self.assertEqual([image for image, _ in run.saved], ["image of 'a cat, drawn with 7' from 5"])
        (record,) = self.records(run)
        self.assertEqual((record["original"], record["prompts"]), ("a cat", ["a cat, drawn with 7"]))
        self.assertEqual(record["model"]["name"], "fake")
        self.assertEqual(record["asked"], {"strength": 1.0, "keep": "words"})
        self.assertIn("workflow", png_metadata.texts_of(run.saved[0][1]))
        self.assertEqual(self.host.shown, [("2", "a cat, drawn with 7")])

    def test_each_image_has_a_prompt_of_its_seed(self) -> None:
        run = self.host.queue(graph(output=1, count=3), {})
        self.assertEqual(run.outputs("2")[1], [f"a cat, drawn with {seed}" for seed in (7, 8, 9)])
        self.assertEqual(len(run.saved), 3)
        (record,) = self.records(run)
        self.assertEqual(record["seeds"], [7, 8, 9])

    def test_seeds_go_round_at_the_largest(self) -> None:
        run = self.host.queue(graph(output=1, count=2, seed=MAX_SEED))
        self.assertEqual(run.outputs("2")[1], [f"a cat, drawn with {MAX_SEED}", "a cat, drawn with 0"])

    def test_every_setting_gets_there(self) -> None:
        self.host.queue(
            graph(
                strength=0.5,
                keep="exact",
                ban="@artists\n\n  greg rutkowski ",
                must_include="soft light",
                no_artists=True,
                target="sdxl",
                budget=60,
            )
        )
        expected = {
            "user_input": "a cat",
            "seed": 7,
            "strength": 0.5,
            "keep": "exact",
            "ban": ["@artists", "greg rutkowski"],
            "must_include": ["soft light"],
            "no_artists": True,
            "target": "sdxl",
            "budget": 60,
        }
        self.assertEqual(self.server.bodies, [expected])

    def test_what_is_left_to_the_model_is_not_sent(self) -> None:
        self.host.queue(graph(keep="model's choice"))
        self.assertEqual(self.server.bodies, [{"user_input": "a cat", "seed": 7, "strength": 1.0, "no_artists": False}])

    def test_several_texts_are_each_adapted(self) -> None:
        texts = {"1": {"class_type": "TextList", "inputs": {"text": "a cat|a dog"}}}
        run = self.host.queue({**texts, **graph(text=["1", 0])})
        self.assertEqual(run.outputs("2")[0], ["a cat, drawn with 7", "a dog, drawn with 7"])
        self.assertEqual([record["original"] for record in self.records(run)], ["a cat", "a dog"])

    def test_two_nodes_leave_a_record_each(self) -> None:
        both = graph()
        both["4"] = {
            "class_type": "PromptistAdapt",
            "inputs": {**both["2"]["inputs"], "text": ["2", 2], "seed": 8},
        }
        both["3"]["inputs"]["text"] = ["4", 0]
        run = self.host.queue(both)
        self.assertEqual(self.records(run, "2")[0]["prompts"], ["a cat, drawn with 7"])
        self.assertEqual(self.records(run, "4")[0]["prompts"], ["a cat, drawn with 8"])

    def test_the_same_again_comes_from_the_cache_and_its_image_knows_it_too(self) -> None:
        first = self.host.queue(graph())
        again = self.host.queue(graph(noise_seed=6))
        self.assertNotIn("2", again.executed)
        self.assertEqual(self.records(again), self.records(first))
        self.assertEqual(len(self.server.heard), 1)

    def test_from_the_cache_or_not_an_image_knows_its_own_prompt(self) -> None:
        for text, seed in (("a cat", 7), ("a dog", 7), ("a cat", 7), ("a cat", 8), ("a dog", 7)):
            for noise_seed in (1, 2):
                run = self.host.queue(graph(text=text, seed=seed, noise_seed=noise_seed))
                if not run.saved:  # the whole run came from the cache
                    continue
                (record,) = self.records(run)
                self.assertEqual((record["original"], record["seed"]), (text, seed))
                self.assertIn(repr(record["prompts"][0]), run.saved[0][0])

    def test_what_comes_before_the_node_tells_runs_apart(self) -> None:
        for text in ("a cat", "a dog"):
            texts = {"1": {"class_type": "TextList", "inputs": {"text": text}}}
            run = self.host.queue({**texts, **graph(text=["1", 0])})
            self.assertEqual([record["original"] for record in self.records(run)], [text])

    def test_an_empty_prompt_stays_empty(self) -> None:
        run = self.host.queue(graph(text=" \n", count=2))
        self.assertEqual(run.outputs("2"), [[" \n"], [" \n", " \n"], [" \n"], [""]])
        self.assertEqual(self.server.heard, [])

    def test_a_failure_makes_the_image_of_the_users_prompt_and_says_so(self) -> None:
        self.server.scripted = [(500, {}, b'{"error": {"message": "something went wrong"}}')]
        with self.assertLogs("promptist", "WARNING"):
            run = self.host.queue(graph(output=1, count=2))
        prompt, prompts, original, note = run.outputs("2")
        self.assertEqual((prompt, prompts, original), (["a cat"], ["a cat"] * 2, ["a cat"]))
        self.assertIn("something went wrong", note[0])
        self.assertEqual(self.records(run)[0]["error"], "Promptist did not answer")
        self.assertIn("something went wrong", self.host.shown[0][1])

        # A failure is not kept: the same graph tries again; and after that, what it gave is.
        again = self.host.queue(graph(output=1, count=2))
        self.assertEqual(again.outputs("2")[1], ["a cat, drawn with 7", "a cat, drawn with 8"])
        self.assertNotIn("error", self.records(again)[0])
        self.assertEqual(self.host.queue(graph(output=1, count=2)).executed, [])

    def test_a_failure_stops_the_run_if_the_user_wants_that(self) -> None:
        self.server.close()
        with self.assertRaisesRegex(Exception, "cannot be reached"):
            self.host.queue(graph(on_failure="stop"))

    def test_a_refusal_is_a_failure_too(self) -> None:
        with self.assertLogs("promptist", "WARNING"):
            run = self.host.queue(graph(text="a cat on a mat", budget=2))
        self.assertIn("of sd15 tokens", run.outputs("2")[3][0])
        self.assertIn("of sd15 tokens", self.records(run)[0]["error"])

    def test_inputs_are_checked_by_the_host(self) -> None:
        for wrong in ({"strength": 2}, {"count": 0}, {"seed": -1}, {"keep": "all"}, {"target": "dalle"}):
            with self.assertRaises(comfyui.Invalid, msg=wrong):
                self.host.queue(graph(**wrong))

    def test_the_settings_file_goes_before_the_environment(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "promptist.json"
            with mock.patch.object(self.host.pack.nodes, "SETTINGS_FILE", file):
                file.write_text(json.dumps({"url": self.server.url, "timeout_secs": 3}))
                os.environ["PROMPTIST_URL"] = "http://127.0.0.1:1"
                self.assertEqual(self.host.queue(graph()).outputs("2")[3], [""])
                file.write_text("{")
                with self.assertLogs("promptist", "WARNING"):
                    self.assertIn("cannot be read", self.host.queue(graph(seed=1)).outputs("2")[3][0])

    def test_the_example_of_a_settings_file_can_be_read(self) -> None:
        example = json.loads((PACK / "promptist.example.json").read_text())
        self.assertEqual(self.host.pack.nodes.Connection.configured(example).url, example["url"])

    def test_no_image_says_where_the_server_is_or_what_its_token(self) -> None:
        self.server.token = os.environ["PROMPTIST_TOKEN"] = "a-secret"
        runs = [self.host.queue(graph())]
        self.server.scripted = [(500, {}, b"")]
        with self.assertLogs("promptist", "WARNING"):
            runs.append(self.host.queue(graph(seed=8)))
        for run in runs:
            ((_, file),) = run.saved
            self.assertNotIn(b"a-secret", file)
            self.assertNotIn(self.server.url.encode(), file)


class RealNode(InComfyUI, WithRealProgram):
    def test_it_adapts_through_a_server_that_it_starts(self) -> None:
        text = 'a (red:1.2) cat, "Hello" <lora:ink:0.8>'
        run = self.host.queue(graph(output=1, text=text, count=3, ban="@artists", must_include="soft light"), {})
        prompt, prompts, original, note = run.outputs("2")
        self.assertEqual((original, note), ([text], [""]))
        self.assertEqual(len(set(prompts)), 3)
        for prompt in prompts:
            self.assertTrue(prompt.startswith('a (red:1.2) cat, "Hello"'), prompt)
            self.assertTrue(prompt.endswith("<lora:ink:0.8>"), prompt)
            self.assertIn("soft light", prompt)
        (record,) = self.records(run)
        self.assertEqual((record["prompts"], record["model"]["name"]), (prompts, "mini"))
        # The seed of an image gives its prompt again, alone.
        alone = self.host.queue(graph(text=text, seed=8, ban="@artists", must_include="soft light"))
        self.assertEqual(alone.outputs("2")[0], [prompts[1]])


if __name__ == "__main__":
    unittest.main()
