//! Lines of text and JSON Lines from outside, and what the data stage makes of them.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use promptist::data::{degenerate, lines, main_content, normalize::normalize, safety};

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("in.jsonl");
    let Ok(lines) = lines::parse(path, bytes) else { return };
    for (number, line) in (1..).zip(&lines) {
        let text = lines::text_of(path, number, line, "text").unwrap_or_else(|_| line.clone());
        let _ = (safety::check(&text), degenerate::check(&text));
        let Ok(normal) = normalize(&text) else { continue };
        assert_eq!(normalize(&normal).as_ref(), Ok(&normal), "normalising again changed it");
        let _ = main_content::split(&normal);
    }
});
