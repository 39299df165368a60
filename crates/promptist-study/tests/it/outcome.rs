//! From simulated raters to the report: a known preference is found, bad raters are left out, rows lead back.

use promptist_study::{Checks, Format, Raters, ReportFormat, StudyConfig};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::client::Rater;
use crate::test_study::{REWRITES, SYSTEMS, TestStudy, databases, plain, system_of};

/// Chooses system 1's image with a probability, by looking at the images; checks are seen through.
fn looking(probability: f64, seed: u64) -> impl FnMut(&Rater, &Value) -> &'static str {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    move |rater, question| {
        let systems = [&question["a"][0], &question["b"][0]].map(|url| system_of(&rater.image(url)));
        match systems {
            [Some(a), Some(_)] => {
                let preferred = usize::from(rng.random_bool(probability));
                ["a", "b"][usize::from(a != preferred)]
            }
            // Noise against a pattern.
            [Some(_), None] => "a",
            _ => "b",
        }
    }
}

#[test]
fn a_preference_of_60_to_40_is_found() {
    for database in databases() {
        let study = TestStudy::new(100, 1, &database, plain());
        let server = study.serve();
        let raters: Vec<Rater> =
            study.invite(5).iter().map(|token| Rater::begin(server.address, token)).collect();
        std::thread::scope(|scope| {
            for (seed, rater) in (0..).zip(&raters) {
                scope.spawn(move || assert_eq!(rater.answer_all(looking(0.6, seed)), 100));
            }
        });
        let report = study.report_json();
        let pair = &report["results"]["pairs"][0];
        // The pair is named from its first system; the second is the preferred one.
        assert_eq!((&pair["first"], &pair["second"]), (&json!(SYSTEMS[0]), &json!(SYSTEMS[1])));
        for interval in [&pair["preference"], &pair["preference_wilson"]] {
            let [low, high] = ["low", "high"].map(|end| interval[end].as_f64().expect("a number"));
            assert!(low <= 0.4 && 0.4 <= high, "{interval}");
        }
        assert!(pair["p"].as_f64().expect("a number") < 0.01);
        assert_eq!(report["results"]["strengths"][0]["system"], SYSTEMS[1]);
        // Raters that answer at random agree little.
        let alpha = report["results"]["agreement"]["alpha_nominal"]["mean"].as_f64().expect("a number");
        assert!(alpha.abs() < 0.2, "{alpha}");
        for format in [ReportFormat::Text, ReportFormat::Html] {
            let text = study.report(format);
            assert!(SYSTEMS.iter().all(|system| text.contains(system)), "{text}");
            let pictures = text.matches("data:image/jpeg;base64,").count();
            assert_eq!(pictures, if format == ReportFormat::Html { 200 } else { 0 });
        }
    }
}

#[test]
fn who_does_not_look_is_left_out_and_named() {
    let config = StudyConfig {
        raters: Raters { repeats: 0.5, ..Raters::default() },
        checks: Checks { noise: 4, unrelated: 0, given: vec![] },
        ..StudyConfig::default()
    };
    let study = TestStudy::new(10, 1, &None, config);
    let server = study.serve();
    let tokens = study.invite(3);
    // Two are sure of system 1, the third says A whatever there is.
    for (seed, token) in (0..).zip(&tokens[..2]) {
        assert_eq!(Rater::begin(server.address, token).answer_all(looking(1.0, seed)), 19);
    }
    Rater::begin(server.address, &tokens[2]).answer_all(|_, _| "a");

    let report = study.report_json();
    let quality = report["rater_quality"].as_array().expect("raters");
    for good in &quality[..2] {
        assert_eq!((&good["checks_passed"], &good["checks"]), (&json!(4), &json!(4)));
        assert_eq!((&good["repeats_same"], &good["repeats"]), (&json!(5), &json!(5)));
    }
    assert_eq!(quality[2]["repeats_same"], 0, "who always says A says another system each time");
    assert_eq!(quality[2]["share_of_a"]["mean"], 1.0);
    assert_eq!(report["excluded"].as_array().expect("raters").len(), 1);
    assert_eq!(report["excluded"][0]["rater"], 3);
    // Before and after.
    assert_eq!(
        (&report["results"]["answers"], &report["results_with_excluded"]["answers"]),
        (&json!(20), &json!(30))
    );
    assert_eq!(report["results"]["pairs"][0]["losses"], 20);
    assert_eq!(report["results"]["agreement"]["alpha_nominal"]["mean"], Value::Null);
    let text = study.report(ReportFormat::Text);
    assert!(text.contains("rater 3: checks passed"), "{text}");
    // Ten inputs of ten are not all inputs there are; nobody knows the strength of who always wins.
    let preference = &report["results"]["pairs"][0]["preference"];
    assert_eq!((&preference["mean"], &preference["low"]), (&json!(0.0), &json!(0.0)));
    let high = preference["high"].as_f64().expect("a number");
    assert!((high - 0.2775).abs() < 1e-4, "Wilson's of 0 in 10: {high}");
    assert_eq!(report["results"]["strengths"], json!([]));
    assert!(text.contains("none: a system won or lost everything"), "{text}");
    assert!(report["results_with_excluded"]["strengths"].as_array().is_some_and(|of| of.len() == 2));

    // Rules that are edited later change nothing, and the report says so.
    let path = study.folder.path().join("study").join("config.toml");
    let config = std::fs::read_to_string(&path).expect("there");
    std::fs::write(&path, config.replace("min_checks_passed = 0.75", "min_checks_passed = 0.0"))
        .expect("writable");
    let again = study.runtime.block_on(promptist_study::Study::open(&study.folder.path().join("study")));
    let again = again.expect("opens");
    let edited = study.runtime.block_on(promptist_study::report(&again)).expect("a report");
    let edited: Value = serde_json::from_str(&edited.print(ReportFormat::Json)).expect("JSON");
    assert_eq!((&edited["were_rules_edited"], &edited["rules"]), (&json!(true), &report["rules"]));
    assert_eq!((&report["were_rules_edited"], &edited["excluded"]), (&json!(false), &report["excluded"]));

    // A system that always wins is the chosen one of every pair.
    let pairs: Vec<Value> =
        study.export(Format::Dpo).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(pairs.len(), 10);
    for pair in &pairs {
        let user_input =
            pair["prompt"].as_str().and_then(|prompt| prompt.strip_suffix(" Rephrase:")).expect("ours");
        assert_eq!(pair["chosen"], format!(" {user_input}, {}", REWRITES[1]));
        assert_eq!(pair["rejected"], format!(" {user_input}, {}", REWRITES[0]));
        assert_eq!((&pair["margin"], &pair["majority"]), (&json!(1.0), &json!(2)));
    }
    let csv = study.export(Format::Csv);
    assert_eq!(csv.lines().count(), 1 + 3 * 19);
    assert!(csv.starts_with("rater,place,question,kind,"));

    // From a row of the report to everything about it.
    let row = &report["rows"][0];
    let [question, row_id] = [&row["question"], &row["first"]["row_id"]];
    let show = |id: &str| study.runtime.block_on(promptist_study::show(&study.study, id)).expect("there");
    let shown = show(&question.to_string());
    assert_eq!(show(row_id.as_str().expect("text")), shown);
    for word in REWRITES {
        assert!(shown.contains(word), "{shown}");
    }
    assert!(shown.contains("seeds   40") && shown.contains("rater 1, main: "), "{shown}");
}

#[test]
fn a_study_without_answers_has_a_report() {
    let study = TestStudy::new(2, 1, &None, StudyConfig::default());
    assert!(study.report(ReportFormat::Text).contains("no answers"));
    assert!(study.report(ReportFormat::Html).contains("No answers yet"));
    assert_eq!(study.report_json()["results"]["pairs"], json!([]));
    assert_eq!(study.report_json()["results"]["strengths"], json!([]));
    assert!(!study.report(ReportFormat::Html).contains("Bradley-Terry"));
    assert_eq!(study.export(Format::Dpo), "");
}
