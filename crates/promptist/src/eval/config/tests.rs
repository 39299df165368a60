//! The committed configs parse and say what they are to say; mistakes are named.

use super::*;

const WHOLE: &str = include_str!("../../../../../configs/eval.toml");
const TEXT: &str = include_str!("../../../../../configs/eval-text.toml");
const QUICK: &str = include_str!("../../../../../configs/eval-quick.toml");
const PAPER: &str = include_str!("../../../../../configs/eval-paper.toml");
const MINI: &str = include_str!("../../../../../configs/eval-mini.toml");
const COMPARE: &str = include_str!("../../../../../configs/compare.toml");

#[track_caller]
fn parsed(text: &str) -> EvalConfig {
    let config = EvalConfig::from_toml(text).expect("a good file");
    let written = config.to_toml().expect("plain values");
    assert_eq!(EvalConfig::from_toml(&written).expect("own output"), config);
    config
}

#[test]
fn the_whole_example_has_every_kind_of_system_and_every_measure() {
    let config = parsed(WHOLE);
    let kinds: Vec<SystemKind> = config.systems.iter().map(|system| system.kind).collect();
    use SystemKind::{File, Human, Input, Model, OpenAi};
    assert_eq!(kinds, [Input, Human, Model, Model, File, OpenAi]);
    assert_eq!(config.baseline(), "input");
    let domains: Vec<Option<Domain>> = config.sets.iter().map(|set| set.domain).collect();
    assert!(domains.contains(&Some(Domain::In)) && domains.contains(&Some(Domain::Out)));
    assert!(config.images.is_some() && config.judges.is_some() && config.leakage.is_some());
    assert!(config.diversity.is_some() && !config.reward.is_empty());
}

#[test]
fn the_text_example_needs_nothing_but_mini() {
    let config = parsed(TEXT);
    assert!(config.images.is_none() && config.reward.is_empty());
    let models: Vec<&str> = config.systems.iter().flat_map(SystemConfig::models).collect();
    assert_eq!(models, ["mini"]);
}

#[test]
fn the_quick_example_needs_nothing_but_this_repository() {
    let config = parsed(QUICK);
    let moved = config.clone().with_data_folder(Path::new("/data"));
    assert_eq!(moved, config, "nothing of it lies in ../shared/data");
    assert!(config.images.is_none() && config.judges.is_none() && config.leakage.is_none());
}

#[test]
fn the_paper_s_model_decodes_as_its_demo_does() {
    let config = parsed(PAPER);
    let promptist = config.systems.iter().find(|system| system.name == "promptist").expect("a system");
    assert_eq!(promptist.models().collect::<Vec<_>>(), ["microsoft/Promptist"]);
    let decoding = &promptist.decoding;
    assert_eq!((decoding.num_beams, decoding.max_new_tokens), (Some(8), Some(75)));
    assert_eq!(decoding.length_penalty, Some(-1.0));
    assert_eq!(decoding.length_normalization, Some(crate::decoding::LengthNormalization::Total));
}

#[test]
fn the_card_measures_everything_on_the_three_sets() {
    let config = parsed(MINI);
    let names: Vec<&str> = config.sets.iter().map(|set| set.name.as_str()).collect();
    assert_eq!(names, ["coco300", "lexica300", "parti"]);
    assert!(config.sets.iter().all(|set| set.limit.is_none()));
    assert_eq!((config.samples, config.diversity.as_ref().map(|d| d.groups)), (20, Some(8)));
    assert!(config.fit.is_some() && config.categories.is_some() && config.likelihood.is_some());
}

#[test]
fn a_comparison_is_an_evaluation_of_two_systems() {
    let config = parsed(COMPARE);
    assert_eq!(config.baseline(), "before");
    assert_eq!((config.systems[1].models().count(), config.reward.len()), (3, 2));
    let judges = config.judges.clone().expect("judges");
    assert!(judges.ratings.is_some() && !judges.human_text.is_empty());
    let moved = config.with_data_folder(Path::new("/data"));
    let ratings = moved.judges.and_then(|judges| judges.ratings);
    assert_eq!(ratings.as_deref(), Some(Path::new("/data/ratings/agiqa3k.csv")));
}

#[test]
fn a_data_folder_moves_what_lies_in_it() {
    let config = parsed(MINI);
    let landscape = config.categories.clone().map(|c| c.landscape);
    let config = config.with_data_folder(Path::new("/data"));
    assert_eq!(config.sets[0].path, Path::new("/data/eval/coco300.txt"));
    assert_eq!(config.categories.map(|c| c.landscape), landscape);
}

#[test]
fn unknown_keys_and_impossible_values_are_named() {
    const SYSTEM: &str = "[[systems]]\nname = \"mini\"\nkind = \"model\"\nmodel = \"mini\"\n";
    const SET: &str = "[[sets]]\nname = \"a\"\npath = \"a.txt\"\n";
    let system = |lines: &str| format!("[[systems]]\nname = \"x\"\n{lines}\n{SET}");
    for (text, key) in [
        (format!("batch_sise = 1\n{SYSTEM}{SET}"), "batch_sise"),
        (format!("batch_size = 0\n{SYSTEM}{SET}"), "batch_size"),
        (format!("permutations = 0\n{SYSTEM}{SET}"), "permutations"),
        (format!("baseline = \"none\"\n{SYSTEM}{SET}"), "baseline"),
        (format!("systems = []\n{SET}"), "systems"),
        (format!("sets = []\n{SYSTEM}"), "sets"),
        (format!("{SYSTEM}{SYSTEM}{SET}"), "systems.name"),
        (format!("{SYSTEM}{SET}{}", SET.replace("\"a\"", "\"A\"")), "sets.name"),
        (format!("{SYSTEM}{}", SET.replace("\"a\"", "\"all\"")), "sets.name"),
        (format!("{SYSTEM}{}", SET.replace("\"a\"", "\"a/b\"")), "sets.name"),
        (format!("{SYSTEM}{SET}limit = 0\n"), "sets.a.limit"),
        (format!("{SYSTEM}{SET}[diversity]\ngroups = 1\n"), "diversity.groups"),
        (format!("{SYSTEM}{SET}[leakage]\ntraining = []\n"), "leakage.training"),
        (
            format!("{SYSTEM}{SET}[[reward]]\nname = \"i\"\nkind = \"image\"\nconfig = \"s\"\n"),
            "reward.i.kind",
        ),
        (system("kind = \"model\""), "systems.x.model"),
        (system("kind = \"model\"\nmodel = \"a\"\nmodels = [\"b\"]"), "systems.x.models"),
        (system("kind = \"model\"\nmodel = \"a\"\n[systems.decoding]\nnum_beam = 3"), "num_beam"),
        (
            system("kind = \"model\"\nmodel = \"a\"\n[systems.decoding]\nnum_return_sequences = 2"),
            "systems.x.decoding.num_return_sequences",
        ),
        (system("kind = \"input\"\nmodel = \"mini\""), "systems.x.model"),
        (system("kind = \"input\"\nkeep = \"exact\""), "systems.x.keep"),
        (system("kind = \"file\""), "systems.x.path"),
        (system("kind = \"openai\""), "systems.x.openai"),
        (
            system("kind = \"openai\"\n[systems.openai]\nurl = \"localhost\"\nmodel = \"m\""),
            "systems.x.openai.url",
        ),
        (
            system("kind = \"openai\"\n[systems.openai]\nurl = \"http://a\"\nmodel = \"m\"\nparallel = 0"),
            "systems.x.openai.parallel",
        ),
        (format!("{}[fit]\n", system("kind = \"input\"")), "fit"),
    ] {
        let error = EvalConfig::from_toml(&text).expect_err(key).to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
}
