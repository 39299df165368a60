//! What the rules remember of a text: everything that what follows can depend on.

use std::num::NonZeroU8;

use aho_corasick::automaton::StateID as PhraseState;
use regex_automata::util::primitives::StateID as RegexState;

use super::fold::Place;

/// A text as [`super::TextRules`] has read it. Two texts with equal states have the same future.
///
/// Cloning does not allocate unless the rules hold more regexes than fit one table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TextState {
    pub(super) phrases: PhraseState,
    pub(super) tables: Tables,
    pub(super) met: u64,
    pub(super) partial: Partial,
    pub(super) place: Place,
    /// Whether the word under way holds an excused `hat*`: another letter makes it a new one.
    pub(super) excused_start: bool,
    /// Whether a letter or a mark came since the context: only what ends with it can be its fault.
    pub(super) wrote_token: bool,
    /// Whether a character came since the context.
    pub(super) wrote_text: bool,
}

/// A state for each table of regexes; the first without an allocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Tables {
    first: RegexState,
    others: Box<[RegexState]>,
}

impl Tables {
    pub(super) fn new(states: impl IntoIterator<Item = RegexState>) -> Self {
        let mut states = states.into_iter();
        Self { first: states.next().unwrap_or_default(), others: states.collect() }
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> RegexState {
        if at == 0 { self.first } else { self.others[at - 1] }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> &mut RegexState {
        if at == 0 { &mut self.first } else { &mut self.others[at - 1] }
    }
}

/// The first bytes of a UTF-8 character that is not whole yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Partial {
    bytes: [u8; 3],
    len: Option<NonZeroU8>,
}

impl Partial {
    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.len.is_none()
    }

    /// Reads a byte. What can never become a character is [`char::REPLACEMENT_CHARACTER`], once for as much
    /// as `String::from_utf8_lossy` replaces at once.
    pub(super) fn read(&mut self, byte: u8, mut each: impl FnMut(char)) {
        let held = self.len.map_or(0, |len| usize::from(len.get()));
        let mut bytes = [0; 4];
        bytes[..held].copy_from_slice(&self.bytes[..held]);
        bytes[held] = byte;
        let mut bytes = &bytes[..=held];
        self.len = None;
        while !bytes.is_empty() {
            match std::str::from_utf8(bytes) {
                Ok(text) => return text.chars().for_each(each),
                Err(error) => match error.error_len() {
                    Some(invalid) => {
                        each(char::REPLACEMENT_CHARACTER);
                        bytes = &bytes[invalid..];
                    }
                    None => {
                        self.bytes = [0; 3];
                        self.bytes[..bytes.len()].copy_from_slice(bytes);
                        self.len = NonZeroU8::new(bytes.len() as u8);
                        return;
                    }
                },
            }
        }
    }

    /// The end of the text: what is not whole will not be.
    pub(super) fn finish(&mut self, each: impl FnOnce(char)) {
        if self.len.take().is_some() {
            self.bytes = [0; 3];
            each(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(bytes: &[u8]) -> String {
        let (mut partial, mut text) = (Partial::default(), String::new());
        bytes.iter().for_each(|&byte| partial.read(byte, |c| text.push(c)));
        partial.finish(|c| text.push(c));
        text
    }

    #[test]
    fn a_state_is_small() {
        assert!(size_of::<TextState>() <= 48);
    }

    proptest! {
        #[test]
        fn bytes_are_replaced_as_the_standard_library_does(
            bytes in prop::collection::vec(
                prop_oneof![Just(b'a'), Just(0x80), Just(0xc3), Just(0xe2), Just(0xf0), Just(0x9f), any::<u8>()],
                0..12,
            ),
        ) {
            prop_assert_eq!(decoded(&bytes), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn characters_come_out_as_they_went_in(text in any::<String>()) {
            prop_assert_eq!(decoded(text.as_bytes()), text);
        }
    }
}
