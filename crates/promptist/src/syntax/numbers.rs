//! Numbers with their units: `3`, `1girl`, `1970s`, `35mm`, `16:9`, `1,000`, `24-70mm`, `50%`, `18+`.

/// The end of the run of ASCII digits at `from`.
pub(super) fn digits(bytes: &[u8], from: usize) -> usize {
    from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn digit_at(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(u8::is_ascii_digit)
}

/// Where the number that begins with the digit at `start` ends.
pub(super) fn end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let mut group = start; // of the last digits
    let mut end = digits(bytes, start);
    loop {
        let next = match bytes.get(end) {
            Some(b'.' | b'/' | b'-' | b'\'') => end + 1,
            Some(b',') if is_thousands(bytes, group, end) => end + 1,
            Some(b':') if is_ratio(bytes, start, group, end) => end + 1,
            Some(0xC3) if text[end..].starts_with('×') => end + '×'.len_utf8(),
            _ => break,
        };
        if !digit_at(bytes, next) {
            break;
        }
        (group, end) = (next, digits(bytes, next));
    }
    // "6+girls" and "18+", not "3+4".
    let after_plus = bytes.get(end + 1).copied();
    if bytes.get(end) == Some(&b'+')
        && after_plus.is_none_or(|c| c.is_ascii_alphabetic() || b" ,.)]}|".contains(&c))
    {
        end += 1;
    }
    end += bytes[end..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let rest = &text[end..];
    let unit = ["%", "°C", "°F", "°", "'s", "’s"].into_iter().find(|unit| rest.starts_with(unit));
    end + unit.map_or(0, str::len)
}

/// Whether a weight or a step: a sign, digits and points.
pub(super) fn is_plain(text: &str) -> bool {
    let text = text.trim();
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && text.bytes().any(|b| b.is_ascii_digit())
}

/// Whether the comma stands as in `1,000`, and not as in `1,2,3` or `1,2000`.
fn is_thousands(bytes: &[u8], group: usize, comma: usize) -> bool {
    comma - group <= 3 && digits(&bytes[..bytes.len().min(comma + 5)], comma + 1) == comma + 4
}

/// Whether the colon stands as in `16:9`, `10:30` and `2.35:1`. In `(1970:1.2)`, `(room 5:1)`, `[cat 2:10]` and
/// `[a:2:10]` it begins a weight or a step.
fn is_ratio(bytes: &[u8], start: usize, group: usize, colon: usize) -> bool {
    let right = colon + 1;
    if colon - group > 2 || !digit_at(bytes, right) || (start > 0 && bytes[start - 1] == b':') {
        return false;
    }
    let mut end = digits(bytes, right);
    if end - right > 2 {
        return false;
    }
    let whole = end;
    if bytes.get(end) == Some(&b'.') && digit_at(bytes, end + 1) {
        end = digits(bytes, end + 1);
    }
    let spaces = bytes[end..].iter().take(8).take_while(|byte| **byte == b' ').count();
    match bytes.get(end + spaces) {
        Some(b']') => false,
        Some(b')') => end == whole && (whole - right == 2 || bytes[right] > b'2'),
        _ => true,
    }
}
