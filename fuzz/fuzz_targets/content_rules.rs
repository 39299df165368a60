//! Ban entries and musts as users write them, over bytes as models write them.
//!
//! The first line is a context, the second the musts, parted by `;`; an empty line ends the ban entries and
//! the rest is the answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promptist::constraints::{Entry, TextRules, categorize};

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(3, |&byte| byte == b'\n');
    let (Some(context), Some(musts), Some(rest)) = (lines.next(), lines.next(), lines.next()) else { return };
    let (Ok(context), Ok(musts)) = (str::from_utf8(context), str::from_utf8(musts)) else { return };
    let split = rest.windows(2).position(|pair| pair == b"\n\n").unwrap_or(rest.len());
    let (written, answer) = rest.split_at(split);
    let answer = answer.get(2..).unwrap_or_default();
    let Ok(written) = str::from_utf8(written) else { return };

    let bans: Vec<Entry> = written.lines().take(8).filter_map(|line| Entry::parse(line).ok()).collect();
    for entry in &bans {
        assert_eq!(&Entry::parse(&entry.to_string()).expect("a printed entry is an entry"), entry);
    }
    let musts: Vec<String> = musts.split(';').take(8).map(str::to_owned).collect();
    let Ok(rules) = TextRules::compile(&bans, &musts).or_else(|_| TextRules::compile(&bans, &[])) else { return };

    // Byte by byte, all at once and as a whole text are the same.
    let start = rules.read_context(&rules.start(), context);
    let at_once = rules.advance(&start, answer);
    let by_bytes = answer.iter().try_fold(start.clone(), |state, &byte| rules.advance(&state, &[byte]));
    assert_eq!(at_once, by_bytes);
    let text = format!("{context}{}", String::from_utf8_lossy(answer));
    let found = rules.bans_after(&text, context.len());
    assert_eq!(at_once.as_ref().is_some_and(|state| rules.may_end(state)), found.is_empty());
    for found in &found {
        assert!(!text[found.range.clone()].is_empty() && found.entry < bans.len());
    }
    if let Some(state) = &at_once {
        assert_eq!(rules.met_so_far(&start) & !rules.met_so_far(state), 0);
        assert_eq!(rules.met_so_far(state) & !rules.met(state), 0);
        assert_eq!(rules.met(state) & !rules.all_met(), 0);
    }
    let _ = categorize(&text);
});
