"""The extension in a stand-in of the webui: loaded, its panel built, jobs run, metadata read back."""

from __future__ import annotations

import configparser
import json
import os
import unittest

from .hosts.a1111 import Processing, Webui
from .servers import INTEGRATIONS, OwnEnvironment, WithFakeServer, WithRealProgram

EXTENSION = INTEGRATIONS / "a1111"
ORIGINAL = "Promptist original prompt"
ON = {"Adapt_the_prompt": True}


class InTheWebui(OwnEnvironment):
    def setUp(self) -> None:
        super().setUp()
        self.webui = Webui(EXTENSION)
        self.addCleanup(self.webui.close)

    def prompts(self, p: Processing, **values: object) -> list[str]:
        images = self.webui.txt2img(p, **{**ON, **values})
        self.assertEqual(self.webui.errors, [])
        return [image.prompt for image in images]


class Extension(InTheWebui, WithFakeServer):
    def test_it_does_nothing_until_it_is_told_to(self) -> None:
        (image,) = self.webui.txt2img(Processing("a cat"))
        self.assertEqual((image.prompt, self.server.heard, self.webui.errors), ("a cat", [], []))
        self.assertNotIn(ORIGINAL, image.parameters)

    def test_each_image_has_a_prompt_of_its_seed(self) -> None:
        p = Processing("a cat", seed=7, batch_size=2, n_iter=2, negative_prompt="blurry")
        images = self.webui.txt2img(p, **ON)
        self.assertEqual([image.prompt for image in images], [f"a cat, drawn with {seed}" for seed in (7, 8, 9, 10)])
        self.assertEqual(len(self.server.heard), 1)
        for image in images:
            self.assertEqual(image.parameters["Prompt"], image.prompt)
            self.assertEqual(image.parameters["Negative prompt"], "blurry")
            self.assertEqual(image.parameters[ORIGINAL], "a cat")
            self.assertEqual(image.parameters["Promptist model"], "fake 0123456789ab")
            settings = json.loads(image.parameters["Promptist settings"])
            self.assertEqual(settings, {"strength": 1.0, "keep": "words"})
        self.assertEqual((p.prompt, p.main_prompt), ("a cat", "a cat, drawn with 7"))
        self.assertEqual(p.initialised, p.all_prompts)

    def test_one_prompt_for_all_images(self) -> None:
        prompts = self.prompts(Processing("a cat", seed=7, batch_size=3), Another_prompt=False)
        self.assertEqual(prompts, ["a cat, drawn with 7"] * 3)
        self.assertEqual(self.server.bodies[0]["seed"], 7)

    def test_a_seed_of_its_own(self) -> None:
        self.assertEqual(self.prompts(Processing("a cat", seed=7), Seed=3), ["a cat, drawn with 3"])
        prompts = self.prompts(Processing("a cat", seed=7, batch_size=2), Seed=3)
        self.assertEqual(prompts, ["a cat, drawn with 3", "a cat, drawn with 4"])

    def test_images_that_share_a_seed_share_a_prompt(self) -> None:
        p = Processing("a cat", seed=7, batch_size=2, subseed_strength=0.1)
        self.assertEqual(self.prompts(p), ["a cat, drawn with 7"] * 2)

    def test_prompts_that_differ_are_each_adapted_and_known(self) -> None:
        texts = ["a cat", "a dog", "a cat", " "]
        p = Processing(texts, seed=[1, 1, 2, 3], batch_size=2, n_iter=2)
        images = self.webui.txt2img(p, **ON)
        expected = ["a cat, drawn with 1", "a dog, drawn with 1", "a cat, drawn with 2", " "]
        self.assertEqual([image.prompt for image in images], expected)
        self.assertEqual([image.parameters[ORIGINAL].strip() for image in images], [text.strip() for text in texts])
        self.assertEqual(texts, ["a cat", "a dog", "a cat", " "])

    def test_styles_are_part_of_the_prompt(self) -> None:
        p = Processing("a cat", seed=1, styles=["oil painting of {prompt}"])
        self.assertEqual(self.prompts(p), ["oil painting of a cat, drawn with 1"])

    def test_the_hires_pass_has_the_prompt_of_the_first(self) -> None:
        images = self.webui.txt2img(Processing("a cat", seed=7, batch_size=2, enable_hr=True), **ON)
        for image in images:
            self.assertEqual(image.hr_prompt, image.prompt)

    def test_a_hires_prompt_of_its_own_is_left_or_adapted(self) -> None:
        for adapt, expected in ((False, "a detailed cat"), (True, "a detailed cat, drawn with 7")):
            p = Processing("a cat", seed=7, enable_hr=True, hr_prompt="a detailed cat")
            (image,) = self.webui.txt2img(p, **ON, Adapt_a_hires=adapt)
            self.assertEqual((image.prompt, image.hr_prompt), ("a cat, drawn with 7", expected))

    def test_a_job_run_again_begins_from_the_users_words(self) -> None:
        p = Processing("a cat", seed=7)
        self.assertEqual(self.prompts(p), ["a cat, drawn with 7"])
        p.seed = 8
        self.assertEqual(self.prompts(p), ["a cat, drawn with 8"])
        (image,) = self.webui.txt2img(p)
        self.assertEqual(image.prompt, "a cat")

    def test_every_setting_gets_there(self) -> None:
        self.prompts(
            Processing("a cat", seed=7),
            Strength=0.5,
            Keep="exact",
            Do_not_add="@artists\ngreg rutkowski\n",
            Include="soft light",
            No_artists=True,
            Count="sdxl",
            Most=60.0,
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

    def test_the_api_may_send_less(self) -> None:
        p = Processing("a cat", seed=7)
        p.script_args = [True, None]
        self.assertEqual([image.prompt for image in self.webui.process_images(p)], ["a cat, drawn with 7"])
        self.assertEqual(self.webui.errors, [])

    def test_metadata_read_back_gives_the_picture_again(self) -> None:
        text = 'a (red:1.2) cat: "Hello, you", <lora:ink:0.8>'
        (image,) = self.webui.txt2img(Processing(text, seed=7), **ON)
        self.assertEqual(image.parameters[ORIGINAL], text)
        pasted = self.webui.pasted(image.file)
        self.assertEqual(pasted, {"Prompt": image.prompt, "Adapt the prompt": False})
        (other,) = self.webui.txt2img(Processing("a cat"))
        self.assertEqual(self.webui.pasted(other.file), {"Prompt": "a cat"})

    def test_a_failure_makes_the_images_of_the_users_prompt_and_says_so(self) -> None:
        self.server.scripted = [(500, {}, b'{"error": {"message": "something went wrong"}}')]
        p = Processing("a cat", batch_size=2, enable_hr=True)
        with self.assertLogs("promptist", "WARNING"):
            images = self.webui.txt2img(p, **ON)
        self.assertEqual([(image.prompt, image.hr_prompt) for image in images], [("a cat", "a cat")] * 2)
        self.assertNotIn(ORIGINAL, images[0].parameters)
        (said,) = p.comments
        self.assertIn("your own prompt is used. something went wrong", said)

    def test_a_failure_half_way_changes_nothing(self) -> None:
        p = Processing(["a cat", "a dog on a mat"], seed=[1, 1], batch_size=2)
        with self.assertLogs("promptist", "WARNING"):
            images = self.webui.txt2img(p, **ON, Most=3)
        self.assertEqual([image.prompt for image in images], ["a cat", "a dog on a mat"])

    def test_a_failure_makes_no_image_if_the_user_wants_that(self) -> None:
        self.server.close()
        with (
            self.assertLogs("promptist", "WARNING"),
            self.assertRaisesRegex(Exception, "no image was made.*reached"),
        ):
            self.webui.txt2img(Processing("a cat"), **ON, Make_no_image=True)
        self.assertEqual(self.webui.errors, [])

    def test_the_settings_page_goes_before_the_environment(self) -> None:
        os.environ["PROMPTIST_URL"] = "http://127.0.0.1:1"
        self.webui.options.data["promptist_url"] = self.server.url
        self.assertEqual(self.prompts(Processing("a cat", seed=7)), ["a cat, drawn with 7"])

    def test_its_controls_have_labels_and_ids_of_their_own(self) -> None:
        ids = [control.options["elem_id"] for control in self.webui.controls]
        self.assertTrue(all(control.label for control in self.webui.controls))
        self.assertEqual(len(ids), len(set(ids)))

    def test_the_webui_can_read_what_it_runs_after(self) -> None:
        metadata = configparser.ConfigParser()
        metadata.read(EXTENSION / "metadata.ini")
        self.assertIn("sd-dynamic-prompts", metadata["scripts/promptist.py"]["After"])


class RealExtension(InTheWebui, WithRealProgram):
    def test_it_adapts_through_a_server_that_it_starts(self) -> None:
        text = "a (red:1.2) cat, [day:night:0.5] __color__ BREAK {oil|ink} <lora:ink:0.8>"
        p = Processing(text, seed=7, batch_size=2, n_iter=2, enable_hr=True)
        images = self.webui.txt2img(p, **ON, Do_not_add="@artists", Include="soft light")
        self.assertEqual(self.webui.errors, [])
        self.assertEqual(p.comments, {})
        self.assertEqual(len({image.prompt for image in images}), 4)
        for image in images:
            self.assertTrue(image.prompt.endswith("<lora:ink:0.8>"), image.prompt)
            for kept in ("a (red:1.2) cat, [day:night:0.5] __color__ BREAK {oil|ink}", "soft light"):
                self.assertIn(kept, image.prompt)
            self.assertEqual(image.hr_prompt, image.prompt)
            self.assertEqual(image.parameters[ORIGINAL], text)
            self.assertTrue(image.parameters["Promptist model"].startswith("mini "))
        again = self.webui.txt2img(Processing(text, seed=9), **ON, Do_not_add="@artists", Include="soft light")
        self.assertEqual(again[0].prompt, images[2].prompt)


if __name__ == "__main__":
    unittest.main()
