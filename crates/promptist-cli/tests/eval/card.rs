//! Everything that is measured of a model alone.

use serde_json::Value;

use crate::world::{FEW, INPUT, TEXT, TINY, World, cell};

fn world() -> World {
    let world = World::new();
    world.write("a.txt", &["a cat", "a dog", "a cat", "", "a red house"]);
    world.write("b.txt", &["a tree (tall", "water"]);
    world.write("long.txt", &["a fox", &"fox ".repeat(200)]);
    world.write("text.txt", &TEXT);
    world.write(
        "pairs.jsonl",
        &[
            r#"{"x": "a cat", "y": "a cat, oil painting, sharp focus", "kind": "MC", "source": "rules"}"#,
            r#"{"x": "a log", "y": "a log, 8k, moody", "kind": "MC", "source": "rules"}"#,
        ],
    );
    world.write(
        "eval.toml",
        &[
            FEW,
            "artists = \"absent.txt\"",
            INPUT,
            TINY,
            "[[sets]]\nname = \"a\"\npath = \"a.txt\"",
            "[[sets]]\nname = \"b\"\npath = \"b.txt\"",
            "[[sets]]\nname = \"long\"\npath = \"long.txt\"",
            "[fit]",
            "[diversity]\ngroups = 4\nlimit = 2",
            "[categories]\nlandscape = \"a.txt\"\nportrait = \"b.txt\"",
            "[likelihood]\ntargets = \"pairs.jsonl\"\nbefore_sft = \"model\"\nngram_text = [\"text.txt\"]",
            "[judges]\nhuman_text = [\"text.txt\"]\nratings = \"absent.csv\"",
        ],
    );
    world
}

#[test]
fn a_run_measures_everything_and_says_so() {
    let world = world();
    let printed = world.succeed("run", &["--json"]);
    let report: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    assert_eq!(report, world.json("run/report.json"));

    // An input twice is one input; an empty line is none; one that is too long is missing.
    let n = |set: &str, measure: &str| {
        let cell = cell(&report, set, measure, "tiny");
        let count = |key: &str| cell[key].as_u64().expect("a number");
        (count("n"), count("missing"), count("undefined"))
    };
    assert_eq!(["a", "b", "long", "all"].map(|set| n(set, "content_kept").0), [3, 2, 1, 6]);
    assert_eq!(n("long", "tokens"), (1, 1, 0));
    assert_eq!(n("a", "vendi"), (2, 0, 1));
    assert_eq!(cell(&report, "all", "content_kept", "tiny")["interval"]["mean"], 1.0);
    assert_eq!(cell(&report, "long", "content_kept", "input")["n"], 2);
    assert!(report["measures"].as_array().expect("measures").iter().all(|of| of["key"] != "artist_of_file"));
    let failures = report["failures"].as_array().expect("failures");
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0]["row_id"], "long:1:tiny");

    let card = &report["cards"][0];
    assert_eq!((&card["system"], &card["target_fit"]["gain"]["n"]), (&"tiny".into(), &2.into()));
    let likelihood = card["likelihood"].as_array().expect("measures");
    let bits = |idx: usize| likelihood[idx]["bits_per_byte"].as_f64().expect("a number");
    assert_eq!(likelihood.len(), 4);
    assert_eq!(bits(0), bits(1), "the same model, asked the same way");
    assert!(bits(3) < bits(2), "random weights know less than five tokens' counts");
    assert_eq!(likelihood[0]["unseen"], 1);
    // A random model's additions may be such nonsense that the filter leaves none to measure.
    let checks = card["checks"].as_array().map_or(0, Vec::len);
    assert!((4 * 4..=4 * 6 + 1).contains(&checks), "{checks} checks");

    let rows = world.rows("run");
    assert_eq!(rows.len(), 2 * (3 + 2 + 2));
    for row in rows.iter().filter(|row| row["system"] == "tiny" && row["missing"].is_null()) {
        let rewrite = row["rewrites"][0]["adapted_prompt"].as_str().expect("a rewrite");
        assert!(rewrite.starts_with(row["user_input"].as_str().expect("an input")), "{rewrite}");
    }
    assert!(world.read("run/report.md").contains("## 3 inputs, not picked"));

    // A folder with a run is not written over; another run gives the same numbers.
    assert!(world.fail("run", &[]).contains("--resume"));
    world.succeed("again", &[]);
    assert_eq!(world.report("run"), world.report("again"));
    assert_eq!(world.read("run/rows.jsonl"), world.read("again/rows.jsonl"));
}

#[test]
fn every_p_is_in_one_family_and_every_mean_has_its_interval() {
    let world = world();
    world.succeed("run", &[]);
    let report = world.report("run");
    let comparisons = report["comparisons"].as_array().expect("comparisons");
    for family in report["families"].as_array().expect("families") {
        let is_member = |of: &&Value| of["family"] == family["name"] && !of["p"].is_null();
        let members: Vec<&Value> = comparisons.iter().filter(is_member).collect();
        assert_eq!(family["comparisons"], members.len());
        for of in members {
            let p = |key: &str| of[key].as_f64().expect("a number");
            assert!(p("p") <= p("p_adjusted") && p("p_adjusted") <= 1.0, "{of}");
        }
    }
    for of in comparisons {
        assert_eq!(of["p"].is_null(), of["p_adjusted"].is_null(), "{of}");
        assert!(of["p"].is_null() || of["family"].is_string(), "{of}");
        let counts = &of["counts"];
        if !counts.is_null() {
            let sum: u64 =
                ["wins", "ties", "losses"].map(|key| counts[key].as_u64().expect("a count")).iter().sum();
            assert_eq!(of["n"], sum);
        }
    }
    for cell in report["cells"].as_array().expect("cells") {
        let (n, interval) = (cell["n"].as_u64().expect("n"), &cell["interval"]);
        assert!(n < 2 || (interval["n"] == n && interval["low"].is_number()), "{cell}");
    }
}
