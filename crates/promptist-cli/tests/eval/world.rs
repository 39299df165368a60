//! A folder with a tiny model, prompt sets and whatever a test's config names.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use burn::tensor::Device;
use promptist::gpt2::{Gpt2, Gpt2Config, folder};
use promptist::tokenizer::Tokenizer;
use serde_json::Value;
use tempfile::TempDir;

pub const TEXT: [&str; 4] = [
    "a cat on a mat, highly detailed, 8k, artstation",
    "a castle at dusk, oil painting, sharp focus",
    "portrait of a king, digital painting, smooth, sharp focus",
    "a field of wheat, golden hour, 35mm, highly detailed",
];

/// Few resamples: a test is no measurement.
pub const FEW: &str = "resamples = 60\npermutations = 60\nbatch_size = 2\nsamples = 3\n";

pub const INPUT: &str = "[[systems]]\nname = \"input\"\nkind = \"input\"\n";

pub const TINY: &str = "[[systems]]\nname = \"tiny\"\nkind = \"model\"\nmodel = \"model\"\n";

pub struct World {
    folder: TempDir,
}

impl World {
    /// A model of random weights that keeps its user's words, in the folder `model`.
    pub fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().expect("writable") };
        world.add_model("model", 5);
        world
    }

    pub fn add_model(&self, name: &str, seed: u64) {
        let json = Tokenizer::train(TEXT.iter().copied().cycle().take(40), 300).expect("trains");
        let tokenizer = Tokenizer::from_json(json.as_bytes()).expect("reads what it wrote");
        let config = Gpt2Config {
            vocab_size: tokenizer.vocab_size(),
            n_positions: 96,
            n_embd: 16,
            n_layer: 1,
            n_head: 2,
            bos_token_id: tokenizer.eos_token_id(),
            eos_token_id: tokenizer.eos_token_id(),
            ..Gpt2Config::default()
        };
        let model = Gpt2::random(&config, seed, &Device::flex()).expect("possible");
        let settings = r#"{"num_beams": 2, "max_new_tokens": 8, "promptist": {"keep": "exact"}}"#;
        let files = [
            ("tokenizer.json".into(), json.into_bytes()),
            ("generation_config.json".into(), settings.into()),
        ];
        std::fs::create_dir(self.path(name)).expect("writable");
        folder::save(&model, &self.path(name), &files).expect("writable");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, lines: &[&str]) {
        std::fs::write(self.path(name), lines.join("\n") + "\n").expect("writable");
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect(name)
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).expect("JSON")
    }

    pub fn rows(&self, run: &str) -> Vec<Value> {
        let rows = self.read(&format!("{run}/rows.jsonl"));
        rows.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The report of a run, without what no two runs share.
    pub fn report(&self, run: &str) -> Value {
        let mut report = self.json(&format!("{run}/report.json"));
        report.as_object_mut().expect("an object").remove("elapsed_secs");
        report
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_promptist"));
        command
            .arg("eval")
            .args(args)
            .current_dir(self.folder.path())
            .env("HF_HUB_OFFLINE", "1")
            .env_remove("PROMPTIST_DATA")
            .env_remove("PROMPTIST_LOG")
            .env_remove("OPENAI_API_KEY")
            .stdin(Stdio::null());
        command
    }

    pub fn eval(&self, out: &str, more: &[&str]) -> Output {
        let args = [&["--config", "eval.toml", "--out", out, "--threads", "1"], more].concat();
        self.command(&args).output().expect("the program starts")
    }

    #[track_caller]
    pub fn succeed(&self, out: &str, more: &[&str]) -> Output {
        let output = self.eval(out, more);
        assert!(output.status.success(), "{}", text(&output.stderr));
        output
    }

    #[track_caller]
    pub fn fail(&self, out: &str, more: &[&str]) -> String {
        let output = self.eval(out, more);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        text(&output.stderr).to_owned()
    }
}

/// A folder whose `run` has measured all that can be measured without a network, once for all tests.
pub fn everything() -> &'static World {
    static WORLD: LazyLock<World> = LazyLock::new(measure_everything);
    &WORLD
}

fn measure_everything() -> World {
    let world = World::new();
    world.add_model("other", 6);
    world.write(
        "a.jsonl",
        &[
            r#"{"user_input": "a cat by alphonse", "human_prompt": "a dog, 8k, art by greg rutkowski, nude, 8k", "category": "animals", "source_kind": "MC"}"#,
            r#"{"user_input": "a red house", "human_prompt": "a red house, xkjhgfdq", "category": "places", "source_kind": "RMC"}"#,
        ],
    );
    world.write("b.txt", &["a tree", "water", &"fox ".repeat(200)]);
    world.write("r.jsonl", &[r#"{"user_input": "a tree", "adapted_prompt": "a tree, 8k"}"#]);
    world.write("artists.txt", &["Greg Rutkowski"]);
    world.write("text.txt", &TEXT);
    world.write("leak.txt", &["a red house"]);
    world.write(
        "pairs.jsonl",
        &[
            r#"{"x": "a cat", "y": "a cat, oil painting, sharp focus"}"#,
            r#"{"x": "a log", "y": "a log, 8k, moody"}"#,
        ],
    );
    world.write(
        "score.toml",
        &[&format!(
            "generator = {:?}\nclip = {:?}\naesthetic = {:?}\npick_score = {:?}\n\
             [images]\nwidth = 32\nheight = 32\nnum_inference_steps = 1\n[cache]\nfolder = \"cache\"\n",
            golden("diffusion_v1"),
            golden("clip/quick_gelu"),
            golden("clip/heads/chain.pth"),
            golden("clip/gelu"),
        )],
    );
    world.write(
        "eval.toml",
        &[
            FEW,
            "artists = \"artists.txt\"",
            INPUT,
            "[[systems]]\nname = \"human\"\nkind = \"human\"",
            &TINY.replace("model = \"model\"", "models = [\"model\", \"other\"]"),
            "[[systems]]\nname = \"file\"\nkind = \"file\"\npath = \"r.jsonl\"",
            "[[sets]]\nname = \"a\"\npath = \"a.jsonl\"\ndomain = \"in\"",
            "[[sets]]\nname = \"b\"\npath = \"b.txt\"\ndomain = \"out\"",
            "[images]\nconfig = \"score.toml\"",
            "[[reward]]\nname = \"kept\"\nkind = \"retention\"",
            "[judges]\nhuman_text = [\"text.txt\"]",
            "[leakage]\ntraining = [\"leak.txt\"]",
            "[fit]",
            "[diversity]\ngroups = 4",
            "[categories]\nlandscape = \"b.txt\"\nportrait = \"b.txt\"",
            "[likelihood]\ntargets = \"pairs.jsonl\"\nbefore_sft = \"model\"\nngram_text = [\"text.txt\"]",
        ],
    );
    world.succeed("run", &[]);
    world
}

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../promptist/tests/golden").join(name)
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// The cell of a report.
#[track_caller]
pub fn cell<'a>(report: &'a Value, set: &str, measure: &str, system: &str) -> &'a Value {
    let cells = report["cells"].as_array().expect("cells");
    let is_it = |cell: &&Value| cell["set"] == set && cell["measure"] == measure && cell["system"] == system;
    cells.iter().find(is_it).unwrap_or_else(|| panic!("no cell {set} {measure} {system}"))
}
