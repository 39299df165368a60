//! What each word of a prompt does: by the lists, and by the words beside it where the lists leave it open.

use super::lists::{self, Closed};
use super::words::{Gap, Word};
use crate::data::lexicon::{self, Kind};

/// What a word does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Article,
    Determiner,
    /// A number that counts.
    Number(u32),
    /// "pair", "dozen", before "of" or a noun.
    Group(u32),
    /// "several", "many".
    Vague,
    /// "herd", "bunch", before "of".
    Collective,
    Preposition,
    Conjunction,
    Pronoun,
    Copula,
    Auxiliary,
    Adverb,
    /// "no", "without", "not".
    Negator,
    /// A quality of the lists.
    Quality {
        category: &'static str,
        value: &'static str,
    },
    /// "sleeping", "knitted": a form of a verb, or what looks like one, before a noun.
    Participle,
    /// "beautiful", "detailed": says nothing of the thing.
    Praise,
    Verb,
    Noun,
    /// A number, a time or a make that counts nothing: "1985", "10:15", "356".
    Figure,
    /// Inside quotation marks.
    Quoted,
    /// "artstation", "8k": where a prompt's modifiers begin without a comma.
    Term,
}

/// The class of each word.
pub(super) fn classes(words: &[Word]) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::with_capacity(words.len());
    for at in 0..words.len() {
        let class = class(words, at, &classes);
        classes.push(class);
    }
    mark_terms(words, &mut classes);
    classes
}

fn class(words: &[Word], at: usize, before: &[Class]) -> Class {
    let word = &words[at];
    let folded = word.folded.as_str();
    if word.quotation.is_some() {
        return Class::Quoted;
    }
    if folded.starts_with(|c: char| c.is_ascii_digit()) {
        return number_or_figure(words, at, before);
    }
    let next = words.get(at + 1).filter(|next| !next.starts_phrase());
    let next_is = |folded: &str| next.is_some_and(|next| next.is(folded));
    let starts = word.starts_phrase();
    match folded {
        "no" | "without" | "not" | "never" | "nobody" | "none" | "nothing" | "neither" | "lacking"
        | "minus" | "except" | "sans" | "nor" => return Class::Negator,
        "devoid" | "free" if next_is("of") || next_is("from") => return Class::Negator,
        "instead" if next_is("of") => return Class::Negator,
        "rather" if next_is("than") => return Class::Negator,
        "absence" if next_is("of") => return Class::Negator,
        "like" if !next_is("a") && !next_is("an") && starts => return Class::Preposition,
        // "her" of "wearing her" is as good as a determiner.
        _ => {}
    }
    if let Some(n) = lists::group(folded) {
        let half = at > 0 && words[at - 1].is("half")
            || (at > 1 && words[at - 2].is("half") && words[at - 1].is("a"));
        let n = if half { n / 2 } else { n };
        let counts_next = folded == "dozen" && next.is_some_and(|next| next.is_plural);
        return if next_is("of") || counts_next { Class::Group(n) } else { Class::Noun };
    }
    if let Some(n) = lists::number(folded) {
        return Class::Number(n);
    }
    let in_class = |class: Closed| class.has(folded);
    if in_class(Closed::Collectives) && next_is("of") {
        return Class::Collective;
    }
    let leads_on = next.is_some_and(|next| Closed::Prepositions.has(&next.folded));
    match folded {
        "full" if next_is("of") => return Class::Adverb,
        "straight" | "flat" if leads_on => return Class::Adverb,
        _ => {}
    }
    if let Some((category, value)) = lists::quality(folded) {
        return Class::Quality { category, value };
    }
    if in_class(Closed::Articles) {
        // "a" at a phrase's end is the letter.
        return if next.is_some() { Class::Article } else { Class::Noun };
    }
    for (closed, class) in [
        (Closed::Copulas, Class::Copula),
        (Closed::Auxiliaries, Class::Auxiliary),
        (Closed::Determiners, Class::Determiner),
        (Closed::Pronouns, Class::Pronoun),
        (Closed::Conjunctions, Class::Conjunction),
        (Closed::Vague, Class::Vague),
        (Closed::Prepositions, Class::Preposition),
        (Closed::Praise, Class::Praise),
        (Closed::Adverbs, Class::Adverb),
    ] {
        if in_class(closed) {
            return class;
        }
    }
    if folded.len() > 4
        && folded.ends_with("ly")
        && lists::is_adjectival(folded)
        && !in_class(Closed::KeptAsTheyAre)
    {
        return Class::Adverb;
    }
    verb_or_noun(words, at, before)
}

fn number_or_figure(words: &[Word], at: usize, before: &[Class]) -> Class {
    let word = &words[at];
    let next = words.get(at + 1).filter(|next| matches!(next.gap, Gap::Space | Gap::Hyphen));
    let previous = (!word.starts_phrase() && at > 0).then(|| before[at - 1]);
    let Ok(n) = word.folded.replace(',', "").parse::<u32>() else {
        return Class::Figure;
    };
    let counts =
        next.is_some_and(|next| next.is_plural || inflects_alike(next) || (n == 1 && next.folded.len() > 2));
    let is_year = (1000..2100).contains(&n) && word.folded.len() == 4;
    // "Porsche 356", "F-22".
    let is_make = word.gap == Gap::Hyphen && words[at.saturating_sub(1)].folded.chars().count() < 3;
    let is_part_of_name = previous == Some(Class::Noun) && (is_make || (word.gap != Gap::Hyphen && !counts));
    match () {
        () if is_year && !counts => Class::Figure,
        () if is_part_of_name => Class::Figure,
        () if next.is_none() && n > 20 => Class::Figure,
        () => Class::Number(n),
    }
}

/// "samurai", "sheep".
fn inflects_alike(word: &Word) -> bool {
    super::inflection::has_no_number(&word.folded)
}

fn verb_or_noun(words: &[Word], at: usize, before: &[Class]) -> Class {
    let word = &words[at];
    let folded = word.folded.as_str();
    let next = words.get(at + 1).filter(|next| matches!(next.gap, Gap::Space | Gap::Hyphen));
    let previous = (!word.starts_phrase() && at > 0).then(|| before[at - 1]);
    let opens_object =
        next.is_some_and(|next| Closed::Articles.has(&next.folded) || Closed::Determiners.has(&next.folded));
    if Closed::NounsInIng.has(folded) || Closed::NounsInIng.has(&word.lemma) {
        // "toddlers building a sandcastle".
        let tells = opens_object && previous == Some(Class::Noun) && !word.is_plural;
        return if tells { Class::Verb } else { Class::Noun };
    }
    if Closed::PlainAdjectives.has(folded) {
        let describes = next.is_some_and(opens_noun) && previous != Some(Class::Noun);
        let predicates = matches!(previous, Some(Class::Copula | Class::Adverb));
        let ends_phrase = words.get(at + 1).is_none_or(Word::starts_phrase);
        let is_phrase = at > 0 && word.starts_phrase() && ends_phrase;
        return if describes || predicates || is_phrase { Class::Participle } else { Class::Noun };
    }
    let is_ing = folded.len() > 4 && folded.ends_with("ing");
    let is_ed = folded.len() > 3 && folded.ends_with("ed") && lists::is_adjectival(folded);
    let goes_somewhere = next.is_some_and(|next| {
        ["to", "into", "onto", "through", "towards", "toward"].contains(&next.folded.as_str())
    });
    let verb = lists::verb(folded);
    // "Generate a cat", "draw me a cat".
    let commands = at == 0 && verb.is_some() && (opens_object || next.is_some_and(|next| next.is("me")));
    if commands {
        return Class::Verb;
    }
    let is_part_of_verb =
        is_ing || is_ed || verb.is_some_and(|verb| !verb.is_often_noun && is_past(folded, verb));
    if is_part_of_verb {
        // Before a noun, with nothing before it that could be its subject: "a sleeping cat", "two headed dragon".
        let has_subject = matches!(
            previous,
            Some(
                Class::Noun
                    | Class::Pronoun
                    | Class::Copula
                    | Class::Auxiliary
                    | Class::Quoted
                    | Class::Figure
            )
        );
        let describes = next.is_some_and(opens_noun);
        // "playing football", after a comma, tells what somebody does.
        let tells = is_ing && word.gap == Gap::Comma && !Closed::Gerunds.has(folded);
        let after_ing = is_ing && previous == Some(Class::Conjunction);
        // "kitchen cutting board", but "a man cutting bread".
        let names_kind =
            Closed::Gerunds.has(folded) && next.is_some_and(|next| USED.contains(&next.lemma.as_str()));
        let is_participle = names_kind || (describes && !has_subject && !tells && !after_ing);
        return if is_participle { Class::Participle } else { Class::Verb };
    }
    match verb {
        Some(verb) if !verb.is_often_noun => Class::Verb,
        Some(_) => {
            let has_subject =
                matches!(previous, Some(Class::Noun | Class::Pronoun | Class::Negator | Class::Auxiliary))
                    || (at > 0 && words[at - 1].is("to"));
            let has_object = next.is_none_or(|next| {
                let folded = next.folded.as_str();
                Closed::Articles.has(folded)
                    || Closed::Determiners.has(folded)
                    || Closed::Prepositions.has(folded)
                    || Closed::Adverbs.has(folded)
                    || Closed::Vague.has(folded)
                    || lists::number(folded).is_some()
                    || folded.ends_with("ing")
            });
            let is_certain = matches!(previous, Some(Class::Pronoun | Class::Auxiliary));
            // "two rabbits drink tea": a base form behind a plural.
            let subjects = words[..at].iter().rev().take_while(|word| !word.starts_phrase()).take(4);
            let agrees = at > 0
                && !word.is_plural
                && (words[at - 1].is_plural || subjects.into_iter().any(|word| word.is("and")));
            if has_subject && (agrees || is_certain || (has_object && next.is_some())) {
                Class::Verb
            } else {
                Class::Noun
            }
        }
        // "learns to play", "wrestlers skydive onto a mountain".
        None if goes_somewhere
            && previous == Some(Class::Noun)
            && word.is_plural != words[at - 1].is_plural =>
        {
            Class::Verb
        }
        // "shares a milkshake": a plural that no article can follow.
        None if word.is_plural
            && opens_object
            && previous == Some(Class::Noun)
            && !words[at - 1].is_plural =>
        {
            Class::Verb
        }
        None => Class::Noun,
    }
}

/// What is named by what it is used for: "cutting board".
#[rustfmt::skip]
const USED: &[&str] = &[
    "board", "table", "chair", "pool", "room", "machine", "bag", "lot", "mall", "glove", "ring", "pan", "gown", "dress",
    "shoe", "boot", "suit", "cap", "cart", "glass", "cup", "fountain", "sheet", "tray", "car", "bike", "wheel", "stick",
];

/// "held", "worn": not "hold", "wears".
fn is_past(folded: &str, verb: lists::VerbForm) -> bool {
    folded != verb.base && !folded.ends_with('s')
}

/// Whether a word may begin or be the noun that a participle describes.
fn opens_noun(word: &Word) -> bool {
    let folded = word.folded.as_str();
    let is_closed = [
        Closed::Articles,
        Closed::Determiners,
        Closed::Prepositions,
        Closed::Conjunctions,
        Closed::Pronouns,
        Closed::Copulas,
        Closed::Auxiliaries,
        Closed::Adverbs,
        Closed::Vague,
    ]
    .iter()
    .any(|class| class.has(folded));
    !is_closed
        && word.quotation.is_none()
        && lists::number(folded).is_none()
        && !matches!(folded, "no" | "not" | "without" | "nobody" | "nothing" | "none" | "never")
}

/// Websites, engines, words of quality and artists' names end a noun phrase: "a cat artstation greg rutkowski".
fn mark_terms(words: &[Word], classes: &mut [Class]) {
    let spelled: Vec<lexicon::Word> =
        words.iter().map(|word| lexicon::Word { start: 0, end: 0, folded: word.folded.clone() }).collect();
    let mut at = 0;
    while at < words.len() {
        let end = (at + 1..words.len()).find(|&at| words[at].starts_phrase()).unwrap_or(words.len());
        let term = lexicon::longest_term(&spelled[at..end])
            .filter(|(_, kind)| matches!(kind, Kind::Website | Kind::Engine | Kind::Quality))
            .map(|(taken, _)| taken);
        let artist = lexicon::longest_artist(&spelled[at..end]).filter(|taken| *taken > 1);
        let taken = term.max(artist).unwrap_or(0);
        for class in &mut classes[at..at + taken] {
            let is_open = matches!(class, Class::Noun | Class::Verb | Class::Participle | Class::Figure);
            if is_open || artist.is_some() {
                *class = Class::Term;
            }
        }
        at += taken.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::content::words::words;

    #[track_caller]
    fn check(text: &str, word: &str, expected: Class) {
        let words = words(text);
        let at = words.iter().position(|found| found.is(word)).expect("the word is in the text");
        assert_eq!(classes(&words)[at], expected, "{word} in {text}");
    }

    #[test]
    fn forms_of_verbs_are_told_by_their_neighbours() {
        check("a sleeping cat", "sleeping", Class::Participle);
        check("a cat sleeping on a mat", "sleeping", Class::Verb);
        check("a bird wearing headphones", "wearing", Class::Verb);
        check("a stop sign", "stop", Class::Noun);
        check("two rabbits drink tea", "drink", Class::Verb);
        check("a drink on a table", "drink", Class::Noun);
        check("a knit sweater, a ceiling", "ceiling", Class::Noun);
    }

    #[test]
    fn figures_count_nothing() {
        check("3 cats", "3", Class::Number(3));
        check("paris in 1985", "1985", Class::Figure);
        check("a porsche 356", "356", Class::Figure);
        check("the 1980s", "1980s", Class::Figure);
        check("half a dozen eggs", "dozen", Class::Group(6));
        check("a pair of shoes", "pair", Class::Group(2));
    }

    #[test]
    fn modifiers_without_a_comma_are_terms() {
        check("a cat artstation", "artstation", Class::Term);
        check("a cat by greg rutkowski", "rutkowski", Class::Term);
    }
}
