//! The table of contents of a ZIP archive as `torch.save` writes it: every entry stored, none
//! compressed. Only where entries lie is found out; their bytes stay where they are.
//!
//! A ZIP crate would do, but hands out readers, and what we need is the range of each entry in
//! the mapped file.
//!
//! Source: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16 and 4.5.3.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Problem;

const LOCAL_HEADER: u32 = 0x0403_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const END_64_LOCATOR: u32 = 0x0706_4b50;
const END_LEN: usize = 22;
const END_64_LOCATOR_LEN: usize = 20;
/// Tag of the extra field that holds what does not fit into 32 bits.
const EXTRA_ZIP64: u16 = 1;

/// The entries of the archive `bytes`, by name.
///
/// # Errors
/// A [`Problem`] if the table is broken, an entry lies outside the file, is compressed, encrypted
/// or listed twice.
pub(super) fn entries(bytes: &[u8]) -> Result<BTreeMap<String, Range<usize>>, Problem> {
    let end = find_end(bytes).ok_or_else(|| broken("no end of central directory: truncated"))?;
    let (count, start) = directory(bytes, end).ok_or_else(|| broken("broken end of central directory"))?;

    let mut entries = BTreeMap::new();
    let mut at = start;
    for _ in 0..count {
        let entry = central_header(bytes, at).ok_or_else(|| broken("truncated central directory"))?;
        at = entry.next;
        let name = std::str::from_utf8(entry.name).map_err(|_| broken("an entry's name is not UTF-8"))?;
        if entry.method != 0 || entry.compressed != entry.size {
            return Err(broken(&format!(
                "entry `{name}` is compressed; torch.save stores entries as they are"
            )));
        }
        if entry.flags & 1 != 0 {
            return Err(broken(&format!("entry `{name}` is encrypted")));
        }
        let range = data_range(bytes, &entry).ok_or_else(|| {
            broken(&format!("entry `{name}` of {} bytes lies outside the file: truncated", entry.size))
        })?;
        if entries.insert(name.to_owned(), range).is_some() {
            return Err(broken(&format!("entry `{name}` is listed twice")));
        }
    }
    Ok(entries)
}

fn broken(what: &str) -> Problem {
    Problem::File(format!("not a well-formed ZIP archive: {what}"))
}

/// The last end-of-directory record; a comment of at most 65,535 bytes may follow it.
fn find_end(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(END_LEN)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    (first..=last).rev().find(|&at| u32_at(bytes, at) == Some(END))
}

/// Number of entries, and where the first one's header is.
fn directory(bytes: &[u8], end: usize) -> Option<(u64, usize)> {
    let count = u16_at(bytes, end + 10)?;
    let start = u32_at(bytes, end + 16)?;
    if count != u16::MAX && start != u32::MAX {
        return Some((u64::from(count), usize::try_from(start).ok()?));
    }
    let locator = end.checked_sub(END_64_LOCATOR_LEN)?;
    if u32_at(bytes, locator)? != END_64_LOCATOR {
        return None;
    }
    let end_64 = usize::try_from(u64_at(bytes, locator + 8)?).ok()?;
    if u32_at(bytes, end_64)? != END_64 {
        return None;
    }
    Some((
        u64_at(bytes, end_64.checked_add(32)?)?,
        usize::try_from(u64_at(bytes, end_64.checked_add(48)?)?).ok()?,
    ))
}

struct CentralHeader<'a> {
    name: &'a [u8],
    flags: u16,
    method: u16,
    compressed: u64,
    size: u64,
    local_header: u64,
    next: usize,
}

fn central_header(bytes: &[u8], at: usize) -> Option<CentralHeader<'_>> {
    let header = bytes.get(at..at.checked_add(46)?)?;
    if u32_at(header, 0)? != CENTRAL_HEADER {
        return None;
    }
    let [name_len, extra_len, comment_len] = [28, 30, 32].map(|field| u16_at(header, field).map(usize::from));
    let name_start = at + header.len();
    let extra_start = name_start + name_len?;
    let next = extra_start + extra_len? + comment_len?;
    let mut entry = CentralHeader {
        name: bytes.get(name_start..extra_start)?,
        flags: u16_at(header, 8)?,
        method: u16_at(header, 10)?,
        compressed: u64::from(u32_at(header, 20)?),
        size: u64::from(u32_at(header, 24)?),
        local_header: u64::from(u32_at(header, 42)?),
        next,
    };
    let large = zip64_fields(bytes.get(extra_start..extra_start + extra_len?)?);
    let mut large = large.chunks_exact(8).map(|field| u64_at(field, 0));
    // Only the fields that overflow 32 bits are in the extra field, in this order.
    for field in [&mut entry.size, &mut entry.compressed, &mut entry.local_header] {
        if *field == u64::from(u32::MAX) {
            *field = large.next()??;
        }
    }
    Some(entry)
}

/// The body of the ZIP64 extra field, or nothing.
fn zip64_fields(mut extra: &[u8]) -> &[u8] {
    while let (Some(tag), Some(len)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let Some(body) = extra.get(4..4 + usize::from(len)) else {
            break;
        };
        if tag == EXTRA_ZIP64 {
            return body;
        }
        extra = &extra[4 + body.len()..];
    }
    &[]
}

/// Where the entry's bytes are: after its local header, whose extra field (padding, for alignment)
/// is not that of the central one.
fn data_range(bytes: &[u8], entry: &CentralHeader<'_>) -> Option<Range<usize>> {
    let at = usize::try_from(entry.local_header).ok()?;
    let header = bytes.get(at..at.checked_add(30)?)?;
    if u32_at(header, 0)? != LOCAL_HEADER {
        return None;
    }
    let [name_len, extra_len] = [26, 28].map(|field| u16_at(header, field).map(usize::from));
    let name_start = at + header.len();
    if bytes.get(name_start..name_start + name_len?)? != entry.name {
        return None;
    }
    let start = name_start + name_len? + extra_len?;
    let end = start.checked_add(usize::try_from(entry.size).ok()?)?;
    bytes.get(start..end).map(|_| start..end)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
