//! Bans, musts, budgets, variants and receipts through the whole prompter, on the model that people get:
//! random rules, each answer judged by plain code of this file, apart from what enforces them. The
//! campaign of `tools/checks` does the same in the thousands, with a checker in another language.

use promptist::Error;
use promptist::clip::tokenizer::ClipTokenizer;
use promptist::constraints::{Category, Entry};
use promptist::decoding::{Finish, RawDecodingSettings};
use promptist::mini;
use promptist::model_source::ModelFiles;
use promptist::prompter::{AdaptRequest, Backend, Output, Prompter, Record, added_words, distance};
use promptist::template::Keep;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const INPUTS: [&str; 12] = [
    "a knight on a horse",
    "a cat",
    "portrait of an old fisherman",
    "a city street in the rain at night",
    "two dogs playing in the snow",
    "a castle on a hill",
    "a bowl of fruit",
    "a robot reading a newspaper",
    "an astronaut in a garden",
    "a fox in the forest",
    "a woman with a red umbrella",
    "a mountain lake",
];

/// What mini likes to add, so that bans bite.
const LIKED: [&str; 16] = [
    "highly detailed",
    "digital painting",
    "artstation",
    "concept art",
    "smooth",
    "sharp focus",
    "illustration",
    "cinematic lighting",
    "full body",
    "fantasy art",
    "4k",
    "8k",
    "trending on artstation",
    "octane render",
    "greg rutkowski",
    "oil painting",
];

const WANTED: [&str; 6] =
    ["soft light", "watercolor", "bokeh", "by the sea", "vintage postcard", "35mm film"];

fn prompter() -> Prompter {
    let mini = mini::embedded().expect("the feature `embedded-model`");
    Prompter::open(&ModelFiles::Embedded(mini), &Backend::default()).expect("opens")
}

/// Searches of every kind.
fn searches() -> [RawDecodingSettings; 4] {
    let raw = RawDecodingSettings { max_new_tokens: Some(40), ..RawDecodingSettings::default() };
    [
        RawDecodingSettings { do_sample: Some(true), num_return_sequences: Some(2), ..raw.clone() },
        RawDecodingSettings { num_beams: Some(6), ..raw.clone() },
        RawDecodingSettings {
            num_beams: Some(4),
            num_beam_groups: Some(4),
            diversity_penalty: Some(1.0),
            num_return_sequences: Some(4),
            ..raw.clone()
        },
        RawDecodingSettings { num_beams: Some(1), do_sample: Some(false), ..raw },
    ]
}

fn outputs(prompter: &Prompter, input: &str, request: &AdaptRequest) -> Vec<Output> {
    let settings = prompter.settings(request).unwrap_or_else(|error| panic!("{request:?}: {error}"));
    let adapted = prompter.adapt(&[input.to_owned()], &settings, 0).remove(0);
    adapted.unwrap_or_else(|error| panic!("{input}: {request:?}: {error}")).outputs
}

/// The words of a text, lower case.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// Whether the words of `phrase` stand in a row in those of `text`.
fn holds(text: &str, phrase: &str) -> bool {
    let (text, phrase) = (words(text), words(phrase));
    text.windows(phrase.len()).any(|window| window == phrase)
}

#[test]
fn bans_and_musts_hold_in_every_search() {
    let prompter = prompter();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for round in 0..24 {
        let mut bans: Vec<String> = Vec::new();
        for _ in 0..random.random_range(1..20) {
            bans.push(LIKED.choose(&mut random).expect("some").to_string());
        }
        let regexes = ["/\\b\\d+k\\b/", "/art(ist|station)/", "/\\bby [a-z]+ [a-z]+/"];
        let regex = regexes.choose(&mut random).filter(|_| random.random_bool(0.5));
        let category = [Category::Artists, Category::QualityWords, Category::Websites];
        let category = category.choose(&mut random).filter(|_| random.random_bool(0.5));
        let mut musts: Vec<String> = Vec::new();
        for _ in 0..random.random_range(0..4) {
            let must = WANTED.choose(&mut random).expect("some").to_string();
            // /by [a-z]+ [a-z]+/ and "by the sea" cannot both be had.
            if !(musts.contains(&must) || must.starts_with("by") && regex.is_some()) {
                musts.push(must);
            }
        }
        let mut ban: Vec<Entry> = bans.iter().map(|ban| Entry::parse(ban).expect("an entry")).collect();
        ban.extend(regex.map(|regex| Entry::parse(regex).expect("a regex")));
        ban.extend(category.map(|&category| Entry::Category(category)));
        let request = AdaptRequest {
            decoding: searches()[round % 4].clone(),
            filter: round % 3 != 0,
            ban,
            must_include: musts.clone(),
            ..AdaptRequest::default()
        };
        let input = INPUTS.choose(&mut random).expect("some");
        for Output { text, rules, .. } in outputs(&prompter, input, &request) {
            let addition = text.strip_prefix(input).expect("the input opens the answer");
            for ban in &bans {
                assert!(!holds(addition, ban), "{ban} in {text}");
            }
            if let Some(regex) = regex {
                let regex = regex::Regex::new(&format!("(?i){}", regex.trim_matches('/'))).expect("a regex");
                assert!(!regex.is_match(addition), "{regex} in {text}");
            }
            if category == Some(&Category::Websites) {
                let named = Category::Websites.entries().iter().find(|entry| holds(addition, entry));
                assert!(named.is_none(), "{named:?} in {text}");
            }
            for must in &musts {
                assert!(holds(&text, must), "{must} is not in {text}");
            }
            assert!(!addition.trim_matches([',', ' ']).is_empty(), "{request:?}: {text}");
            let rules = rules.expect("rules were asked for");
            assert_eq!((rules.bans, rules.must_include.len()), (request.ban.len(), musts.len()));
        }
    }
}

#[test]
fn budgets_hold_and_phrases_are_whole() {
    let (prompter, clip) = (prompter(), ClipTokenizer::openai().expect("bundled"));
    for (idx, input) in INPUTS.iter().enumerate() {
        let budget = 12 + 4 * idx;
        let request = AdaptRequest {
            decoding: searches()[idx % 4].clone(),
            target: Some("sd15".to_owned()),
            budget: Some(budget),
            must_include: if idx % 2 == 0 { vec![WANTED[idx / 2].to_owned()] } else { Vec::new() },
            filter: idx % 3 != 0,
            ..AdaptRequest::default()
        };
        for output in outputs(&prompter, input, &request) {
            let tokens = clip.encode(&output.text).expect("short").num_tokens - 2;
            assert!(tokens <= budget, "{tokens} of {budget}: {}", output.text);
            let used = output.rules.and_then(|rules| rules.tokens).expect("a budget").used;
            assert_eq!(used, tokens);
            // Cut between phrases: a longer budget's answer from the same draws goes on with a comma.
            assert!(!output.text.ends_with([',', ' ']), "{}", output.text);
            assert!(output.finish != Finish::Length || output.text.contains(','), "{}", output.text);
        }
    }
    let long = AdaptRequest { budget: Some(3), ..AdaptRequest::default() };
    let settings = prompter.settings(&long).expect("possible for other inputs");
    let error = prompter.adapt(&[INPUTS[2].to_owned()], &settings, 0).remove(0).expect_err("too long");
    assert!(error.to_string().contains("the input takes"), "{error}");
}

#[test]
fn impossible_rules_are_errors_that_name_them() {
    let prompter = prompter();
    let ban = |entry: &str| vec![Entry::parse(entry).expect("an entry")];
    for (key, request) in [
        (
            "must_include",
            AdaptRequest {
                ban: ban("light"),
                must_include: vec!["soft light".into()],
                ..AdaptRequest::default()
            },
        ),
        ("must_include", AdaptRequest { must_include: vec!["word ".repeat(60)], ..AdaptRequest::default() }),
        ("must_include", AdaptRequest { must_include: vec!["  ".into()], ..AdaptRequest::default() }),
        ("must_include", AdaptRequest { must_include: vec!["oil, soft".into()], ..AdaptRequest::default() }),
        ("target", AdaptRequest { target: Some("sd99".into()), ..AdaptRequest::default() }),
        ("budget", AdaptRequest { budget: Some(0), ..AdaptRequest::default() }),
        ("strength", AdaptRequest { strength: Some(1.5), ..AdaptRequest::default() }),
        ("min_distance", AdaptRequest { min_distance: Some(-0.1), ..AdaptRequest::default() }),
        ("min_distance", AdaptRequest { min_distance: Some(0.5), seeds: vec![1], ..AdaptRequest::default() }),
    ] {
        let error = prompter.settings(&request).expect_err(key);
        assert!(matches!(&error, Error::Config { key: found, .. } if found == key), "{request:?}: {error}");
    }
}

#[test]
fn variants_are_as_far_apart_as_promised_and_fewer_are_said() {
    let prompter = prompter();
    for (idx, input) in INPUTS.iter().enumerate() {
        let min_distance = [0.3, 0.6, 0.9, 1.0][idx % 4];
        let request = AdaptRequest {
            decoding: RawDecodingSettings { num_return_sequences: Some(6), ..RawDecodingSettings::default() },
            min_distance: Some(min_distance),
            filter: true,
            ..AdaptRequest::default()
        };
        let settings = prompter.settings(&request).expect("possible");
        let adapted = prompter.adapt(&[input.to_string()], &settings, 0).remove(0).expect("adapts");
        let added: Vec<_> = adapted.outputs.iter().map(|output| added_words(input, &output.text)).collect();
        for (at, a) in added.iter().enumerate() {
            assert!(added[..at].iter().all(|b| distance(a, b) >= min_distance), "{:?}", adapted.outputs);
        }
        assert_eq!(adapted.asked, (added.len() < 6).then_some(6));
        assert!(!added.is_empty());
    }
}

#[test]
fn each_seed_has_the_answer_that_it_has_alone() {
    let prompter = prompter();
    let with = |request: AdaptRequest| outputs(&prompter, INPUTS[0], &request);
    let together = with(AdaptRequest { seeds: vec![3, 9, 4], ..AdaptRequest::default() });
    assert_eq!(together.iter().map(|output| output.seed).collect::<Vec<_>>(), [Some(3), Some(9), Some(4)]);
    for output in together {
        let decoding = RawDecodingSettings { seed: output.seed, ..RawDecodingSettings::default() };
        let alone = with(AdaptRequest { decoding, ..AdaptRequest::default() });
        assert_eq!((&alone[0].text, alone[0].score), (&output.text, output.score));
    }
}

/// One seed's answer that fails is not another row's, and takes no other seed's with it.
#[test]
fn seeds_of_several_rows_do_not_mix() {
    let prompter = prompter();
    let request = AdaptRequest {
        seeds: vec![1, 2, 3],
        ban: vec![Entry::parse("highly detailed").expect("an entry")],
        budget: Some(14),
        ..AdaptRequest::default()
    };
    let settings = prompter.settings(&request).expect("possible");
    // The second is too long for the budget.
    let rows = [INPUTS[0], &"a very long road ".repeat(9), INPUTS[1]].map(str::to_owned);
    let together = prompter.adapt(&rows, &settings, 0);
    assert!(together[1].is_err());
    for idx in [0, 2] {
        let alone = prompter.adapt(&rows[idx..=idx], &settings, 0).remove(0).expect("adapts");
        let together = together[idx].as_ref().expect("adapts");
        assert_eq!(together.outputs, alone.outputs);
        assert_eq!((together.outputs.len(), together.seed), (3, None));
        assert!(together.outputs.iter().all(|output| output.text.starts_with(&rows[idx])));
    }
}

/// Where the model writes all of the answer, there is always one, and it has what is the user's.
#[test]
fn free_answers_under_rules_are_not_empty() {
    let prompter = prompter();
    for (idx, input) in INPUTS.iter().enumerate() {
        let own = input.rsplit(' ').next().expect("a word");
        let bans = [own, "/.+/", "/[a-z]{3,}/", "@artists"][idx % 4];
        let request = AdaptRequest {
            decoding: searches()[idx / 4].clone(),
            keep: Some(Keep::Free),
            filter: idx % 2 == 0,
            ban: vec![Entry::parse(bans).expect("an entry")],
            ..AdaptRequest::default()
        };
        let Ok(settings) = prompter.settings(&request) else { continue };
        for output in prompter.adapt(&[input.to_string()], &settings, 0).remove(0).expect("adapts").outputs {
            assert!(!output.text.is_empty(), "{bans}");
            if bans == own {
                assert!(output.text.starts_with(input), "{}", output.text);
                assert!(!holds(&output.text[input.len()..], own), "{}", output.text);
            }
        }
    }
}

#[test]
fn an_input_that_fills_the_budget_is_its_own_answer() {
    let (prompter, clip) = (prompter(), ClipTokenizer::openai().expect("bundled"));
    for input in ["a red fox", "a red fox --ar 16:9"] {
        let budget = clip.encode(input).expect("short").num_tokens - 2;
        for keep in [Keep::Exact, Keep::Words] {
            let request = AdaptRequest { budget: Some(budget), keep: Some(keep), ..AdaptRequest::default() };
            assert_eq!(outputs(&prompter, input, &request)[0].text, input);
        }
        let request = AdaptRequest { budget: Some(budget - 1), ..AdaptRequest::default() };
        let settings = prompter.settings(&request).expect("possible for other inputs");
        assert!(prompter.adapt(&[input.to_owned()], &settings, 0).remove(0).is_err());
    }
}

/// Settings are plain data: rules that are changed afterwards do not stay what they were in silence.
#[test]
fn rules_that_are_not_compiled_are_refused() {
    let prompter = prompter();
    let mut settings = prompter.settings(&AdaptRequest::default()).expect("possible");
    settings.ban = vec![Entry::parse("art").expect("an entry")];
    let error = prompter.adapt(&[INPUTS[0].to_owned()], &settings, 0).remove(0).expect_err("not compiled");
    assert!(matches!(&error, Error::Config { key, .. } if key == "settings"), "{error}");
    let settings = prompter.compiled(settings).expect("compiles");
    assert!(prompter.adapt(&[INPUTS[0].to_owned()], &settings, 0).remove(0).is_ok());
}

#[test]
fn strength_0_is_the_input_and_what_must_come_whatever_is_kept() {
    let prompter = prompter();
    for keep in [Keep::Exact, Keep::Words, Keep::Free] {
        for (input, must, expected) in [
            ("a red fox   --ar 16:9", None, "a red fox   --ar 16:9"),
            ("a red fox", Some("soft light"), "a red fox, soft light"),
        ] {
            let request = AdaptRequest {
                keep: Some(keep),
                strength: Some(0.0),
                must_include: must.map(str::to_owned).into_iter().collect(),
                seeds: vec![4, 5],
                ..AdaptRequest::default()
            };
            let outputs = outputs(&prompter, input, &request);
            let texts: Vec<&str> = outputs.iter().map(|output| output.text.as_str()).collect();
            assert_eq!(texts, [expected; 2]);
        }
    }
}

#[test]
fn strength_goes_from_the_input_to_all_that_is_added() {
    let prompter = prompter();
    let at = |strength| {
        let request = AdaptRequest { strength: Some(strength), filter: true, ..AdaptRequest::default() };
        outputs(&prompter, INPUTS[0], &request).remove(0).text
    };
    let texts: Vec<String> = [0.0, 0.25, 0.5, 0.75, 1.0].map(at).into();
    assert_eq!(texts[0], INPUTS[0]);
    assert!(texts.windows(2).all(|pair| pair[1].starts_with(&pair[0])), "{texts:?}");
    let all = outputs(&prompter, INPUTS[0], &AdaptRequest { filter: true, ..AdaptRequest::default() });
    assert_eq!(texts[4], all[0].text);
}

#[test]
fn an_explanation_is_what_scoring_without_the_phrase_says() {
    let prompter = prompter();
    let request = AdaptRequest { explain: true, filter: true, ..AdaptRequest::default() };
    let settings = prompter.settings(&request).expect("possible");
    let output = outputs(&prompter, INPUTS[1], &request).remove(0);
    let phrases: Vec<&str> = output.phrases.iter().map(|phrase| phrase.phrase.as_str()).collect();
    assert_eq!(output.text, [&[INPUTS[1]], &phrases[..]].concat().join(", "));
    let without: Vec<&str> = phrases[1..].to_vec();
    let scores = prompter.rescore(INPUTS[1], &[phrases.clone(), without], &settings).expect("scores");
    let first = &output.phrases[0];
    assert!((first.score_without - scores[1]).abs() < 1e-5, "{first:?} {scores:?}");
    assert!((first.effect - (scores[0] - scores[1])).abs() < 1e-5, "{first:?} {scores:?}");
}

#[test]
fn records_replay_whatever_the_batch_and_say_what_differs() {
    let prompter = prompter();
    let request = AdaptRequest {
        ban: vec![Entry::Category(Category::Artists)],
        must_include: vec!["soft light".into()],
        vary_rows: true,
        filter: true,
        ..AdaptRequest::default()
    };
    let settings = prompter.settings(&request).expect("possible");
    let inputs: Vec<String> = INPUTS.map(str::to_owned).into();
    for adapted in prompter.adapt(&inputs, &settings, 5) {
        let record = prompter.record(adapted.expect("adapts"), &settings);
        let line = serde_json::to_string(&record).expect("JSON");
        let read = Record::parse(&line).expect("what was written");
        assert_eq!(prompter.replay(&read).expect("replays"), []);

        let mut forged = read.clone();
        forged.outputs[0].text.push('!');
        forged.receipt.model_sha256 = "0".repeat(64);
        let what: Vec<String> =
            prompter.replay(&forged).expect("replays").into_iter().map(|d| d.what).collect();
        assert_eq!(what, ["model", "text"]);
        let mut other = read;
        other.settings.must_include = vec!["watercolor".into()];
        let what: Vec<String> =
            prompter.replay(&other).expect("replays").into_iter().map(|d| d.what).collect();
        assert!(what.contains(&"settings".to_owned()) && what.contains(&"text".to_owned()), "{what:?}");
    }
    assert!(Record::parse("{\"user_input\": \"\", \"error\": \"x\"}").is_err());
}
