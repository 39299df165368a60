//! The parser of prompt syntax against prompts whose protected pieces are known without it: from a grammar, and from
//! real prompts labelled by hand.

#[path = "../common/syntax_grammar.rs"]
mod syntax_grammar;

use promptist::syntax::{Protect, parse};
use serde::Deserialize;

#[track_caller]
fn check(input: &str, expected: &[String]) {
    let syntax = parse(input, &Protect::default());
    assert_eq!(syntax.to_string(), input);
    assert_eq!(syntax.protected(), expected, "protected pieces of {input:?}");
    assert_eq!(syntax.lost_in(input), Vec::<&str>::new(), "lost in {input:?} itself");
    let (head, tail) = input.split_at(syntax.closing());
    let answer = format!("{head}, oil on canvas, {tail}");
    assert_eq!(syntax.lost_in(&answer), Vec::<&str>::new(), "lost in {answer:?}");
}

#[test]
fn every_form_of_the_grammar_is_found_whole() {
    for (input, pieces) in syntax_grammar::inputs(6, 4_000) {
        check(&input, &pieces);
    }
}

/// A piece that is cut out of the prompt is missed, unless it stands in another place too.
#[test]
fn a_piece_taken_out_is_lost() {
    for (input, pieces) in syntax_grammar::inputs(7, 500) {
        let syntax = parse(&input, &Protect::default());
        for (range, piece) in syntax.protected_ranges().iter().zip(&pieces) {
            let answer = format!("{} {}", &input[..range.start], &input[range.end..]);
            let others = pieces.iter().filter(|other| other.contains(piece.as_str())).count();
            if others == 1 && !answer.contains(piece.as_str()) {
                assert_eq!(syntax.lost_in(&answer), [piece.as_str()], "{answer:?}");
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Labelled {
    text: String,
    protected: Vec<String>,
    plain: Option<String>,
}

#[test]
fn real_prompts_are_read_as_labelled() {
    let lines = include_str!("real.jsonl").lines();
    let labelled: Vec<Labelled> = lines.map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(labelled.len() >= 300, "{} prompts", labelled.len());
    for prompt in labelled {
        check(&prompt.text, &prompt.protected);
        if let Some(plain) = prompt.plain {
            assert_eq!(parse(&prompt.text, &Protect::default()).plain(), plain, "of {:?}", prompt.text);
        }
    }
}
