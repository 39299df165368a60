//! The user's syntax stands in every answer byte for byte, told by pieces that are known from how the
//! inputs were written (a grammar of every form, adversarial nesting included) or labelled by hand.
//!
//! All of the 2,000 inputs with `PROMPTIST_SLOW_TESTS=1`; a part of them otherwise.

#[path = "common/syntax_grammar.rs"]
mod syntax_grammar;

use promptist::Error;
use promptist::decoding::RawDecodingSettings;
use promptist::mini;
use promptist::model_source::ModelFiles;
use promptist::prompter::{AdaptRequest, AdaptSettings, Backend, Prompter};
use promptist::template::Keep;
use serde::Deserialize;

#[derive(Deserialize)]
struct Labelled {
    text: String,
    protected: Vec<String>,
}

fn inputs() -> Vec<(String, Vec<String>)> {
    let is_slow = std::env::var_os("PROMPTIST_SLOW_TESTS").is_some();
    let mut inputs = syntax_grammar::inputs(6, if is_slow { 2000 } else { 120 });
    let real = include_str!("syntax/real.jsonl").lines().map(|line| {
        let Labelled { text, protected } = serde_json::from_str(line).expect("a labelled prompt");
        (text, protected)
    });
    inputs.extend(real.step_by(if is_slow { 1 } else { 4 }));
    inputs.retain(|(text, _)| !text.trim().is_empty());
    inputs
}

fn prompter() -> Prompter {
    let mini = mini::embedded().expect("the feature `embedded-model`");
    Prompter::open(&ModelFiles::Embedded(mini), &Backend::default()).expect("opens")
}

fn settings(prompter: &Prompter, request: AdaptRequest) -> AdaptSettings {
    let decoding =
        RawDecodingSettings { max_new_tokens: Some(20), min_new_tokens: Some(4), ..request.decoding };
    prompter.settings(&AdaptRequest { decoding, ..request }).expect("possible")
}

/// How often `piece` stands in `text`.
fn count(text: &str, piece: &str) -> usize {
    (0..text.len()).filter(|&at| text.as_bytes()[at..].starts_with(piece.as_bytes())).count()
}

#[test]
fn syntax_stands_in_every_answer_byte_for_byte() {
    let (prompter, inputs) = (prompter(), inputs());
    for keep in [Keep::Exact, Keep::Words, Keep::Free] {
        let settings =
            settings(&prompter, AdaptRequest { keep: Some(keep), filter: true, ..AdaptRequest::default() });
        let (mut with_additions, mut too_long) = (0, 0);
        for chunk in inputs.chunks(32) {
            let texts: Vec<String> = chunk.iter().map(|(text, _)| text.clone()).collect();
            for ((text, pieces), adapted) in chunk.iter().zip(prompter.adapt(&texts, &settings, 0)) {
                let output = match adapted {
                    Ok(mut adapted) => adapted.outputs.remove(0),
                    Err(Error::PromptTooLong { .. }) => {
                        too_long += 1;
                        continue;
                    }
                    Err(error) => panic!("{text:?}: {error}"),
                };
                for piece in pieces {
                    assert!(
                        count(&output.text, piece) >= count(text, piece),
                        "{keep:?}: {piece:?} of {text:?} in {:?}",
                        output.text
                    );
                }
                if keep == Keep::Exact {
                    assert!(output.text.starts_with(text.trim()), "{:?}", output.text);
                }
                with_additions += usize::from(output.text.len() > text.trim().len() + 2);
            }
        }
        // Where syntax is, there is an answer too.
        assert!(with_additions * 10 > inputs.len() * 8, "{keep:?}: {with_additions} of {}", inputs.len());
        assert!(too_long * 20 < inputs.len(), "{keep:?}: {too_long}");
    }
}

#[test]
fn what_the_user_protects_is_hidden_from_the_model_and_kept() {
    let prompter = prompter();
    let request = AdaptRequest {
        keep: Some(Keep::Words),
        protect: vec!["ohwx \\w+".to_owned()],
        filter: true,
        ..AdaptRequest::default()
    };
    let settings = settings(&prompter, request);
    let input = ["a photo of ohwx  man at the beach, ohwx dog".to_owned()];
    let text = prompter.adapt(&input, &settings, 0).remove(0).expect("adapts").outputs.remove(0).text;
    assert!(text.starts_with(&input[0]), "{text}");
    let wrong = AdaptRequest { protect: vec!["(".to_owned()], ..AdaptRequest::default() };
    assert!(matches!(prompter.settings(&wrong), Err(Error::Config { key, .. }) if key == "protect"));
}

#[test]
fn a_free_answer_that_loses_a_number_falls_back_to_the_users_text() {
    let prompter = prompter();
    let request = AdaptRequest { keep: Some(Keep::Free), ..AdaptRequest::default() };
    let settings = settings(&prompter, request);
    let inputs: Vec<String> =
        ["7 cats with 13 legs", "a sign that says \"OPEN 24h\"", "1girl"].map(str::to_owned).into();
    for (input, adapted) in inputs.iter().zip(prompter.adapt(&inputs, &settings, 0)) {
        let output = adapted.expect("adapts").outputs.remove(0);
        // Either the model wrote all of it, or its text is the user's and what was added.
        assert!(output.restored.is_empty() || output.text.starts_with(input), "{output:?}");
    }
}
