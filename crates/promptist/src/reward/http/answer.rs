//! What reward servers answer, in the forms in which they do.

use serde_json::Value;

/// A pair's score, or why it has none.
pub(super) type PairScore = Result<f64, String>;

/// How much of a value that is no number is shown.
const MAX_SHOWN_CHARS: usize = 60;

/// The rewards in the answer to `count` pairs, or why it is none.
///
/// `rewards` is a list of numbers. So it is too where a tensor became a list with a dimension of 1 too many
/// (`[[a, b]]`, `[[a], [b]]`), where the list stands alone, and where one pair's is a number. A pair whose reward
/// is null, not finite or no number at all fails by itself.
pub(super) fn rewards(body: &[u8], count: usize) -> Result<Vec<PairScore>, String> {
    let answer = parse(body)?;
    let rewards = match &answer {
        Value::Object(fields) => {
            let names = || fields.keys().take(10).cloned().collect::<Vec<_>>().join(", ");
            fields
                .get("rewards")
                .ok_or_else(|| format!("an answer without `rewards` (it has: {})", names()))?
        }
        other => other,
    };
    let rewards = match rewards {
        Value::Array(rewards) => unnested(rewards),
        Value::Number(_) if count == 1 => vec![rewards],
        other => return Err(format!("`rewards` is no list: {}", shown(other))),
    };
    if rewards.len() != count {
        return Err(format!("{} rewards of {count} pairs", rewards.len()));
    }
    Ok(rewards.into_iter().map(score).collect())
}

/// The list without a dimension of 1.
fn unnested(rewards: &[Value]) -> Vec<&Value> {
    if let [Value::Array(inner)] = rewards {
        return inner.iter().collect();
    }
    rewards
        .iter()
        .map(|reward| match reward {
            Value::Array(inner) if inner.len() == 1 => &inner[0],
            other => other,
        })
        .collect()
}

fn score(reward: &Value) -> PairScore {
    match reward.as_f64() {
        Some(score) if score.is_finite() => Ok(score),
        _ => Err(format!("the server's reward is no number: {}", shown(reward))),
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    let mut shown: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// JSON, also as Python's `json.dumps` writes it, with `NaN` and `Infinity`.
fn parse(body: &[u8]) -> Result<Value, String> {
    let wrong = |error: serde_json::Error| format!("an answer in another form: {error}");
    serde_json::from_slice(body).or_else(|error| match without_bare_words(body) {
        Some(body) => serde_json::from_slice(&body).map_err(wrong),
        None => Err(wrong(error)),
    })
}

/// `body` with null for the `NaN`, `Infinity` and `-Infinity` outside its strings; none if there are none.
fn without_bare_words(body: &[u8]) -> Option<Vec<u8>> {
    let mut replaced = Vec::with_capacity(body.len());
    let (mut in_string, mut found) = (false, false);
    let mut rest = body;
    while let [byte, tail @ ..] = rest {
        let word = [&b"NaN"[..], b"Infinity", b"-Infinity"].into_iter().find(|word| rest.starts_with(word));
        match (in_string, byte, word) {
            (false, _, Some(word)) => {
                replaced.extend(b"null");
                rest = &rest[word.len()..];
                found = true;
            }
            (true, b'\\', _) => {
                let escape = &rest[..rest.len().min(2)];
                replaced.extend(escape);
                rest = &rest[escape.len()..];
            }
            _ => {
                in_string ^= *byte == b'"';
                replaced.push(*byte);
                rest = tail;
            }
        }
    }
    found.then_some(replaced)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(body: &str, count: usize, expected: &[Option<f64>]) {
        let found = rewards(body.as_bytes(), count).expect(body);
        let found: Vec<Option<f64>> = found.into_iter().map(Result::ok).collect();
        assert_eq!(found, expected, "{body}");
    }

    #[test]
    fn the_forms_in_which_servers_answer() {
        let two = [Some(0.5), Some(-1.0)];
        check(r#"{"rewards": [0.5, -1], "scores": [0, 1], "extra_logs": {"x": [1, 2]}}"#, 2, &two);
        check(r#"{"rewards": [[0.5, -1.0]]}"#, 2, &two);
        check(r#"{"rewards": [[0.5], [-1.0]]}"#, 2, &two);
        check("[0.5, -1.0]", 2, &two);
        check(r#"{"rewards": 0.5}"#, 1, &[Some(0.5)]);
        check(r#"{"rewards": [[0.5]]}"#, 1, &[Some(0.5)]);
    }

    #[test]
    fn a_reward_that_is_no_number_fails_alone() {
        check(r#"{"rewards": [0.5, null, "0.5", [1, 2], true]}"#, 5, &[Some(0.5), None, None, None, None]);
        check(
            r#"{"note": "NaN \" NaN \\", "rewards": [NaN, 1e308, Infinity, -Infinity]}"#,
            4,
            &[None, Some(1e308), None, None],
        );
        let reason = rewards(br#"{"rewards": ["good", 1]}"#, 2).expect("a list")[0].clone();
        assert_eq!(reason, Err("the server's reward is no number: \"good\"".to_owned()));
    }

    #[test]
    fn an_answer_of_another_form_says_what_it_is() {
        for (body, expected) in [
            ("", "another form"),
            ("<html>", "another form"),
            (r#"{"rewards": [0.5"#, "another form"),
            (r#"{"rewards": [1e999, 0]}"#, "another form"),
            (r#"{"score": [0.5, 0.5]}"#, "without `rewards` (it has: score)"),
            (r#"{"rewards": [0.5]}"#, "1 rewards of 2 pairs"),
            (r#"{"rewards": [0.5, 1, 2]}"#, "3 rewards of 2 pairs"),
            (r#"{"rewards": 0.5}"#, "no list"),
            (r#"{"rewards": {"0": 1}}"#, "no list"),
            ("null", "no list"),
        ] {
            let reason = rewards(body.as_bytes(), 2).expect_err(body);
            assert!(reason.contains(expected), "{body}: {reason}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200), count in 0_usize..4) {
            drop(rewards(&body, count));
        }

        #[test]
        fn json_has_no_bare_words(text in "[NaInfinity\"\\\\{}-]{0,20}") {
            let body = serde_json::to_vec(&[text]).expect("JSON");
            prop_assert_eq!(without_bare_words(&body), None);
        }
    }
}
