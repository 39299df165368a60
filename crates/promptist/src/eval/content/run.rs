//! One thing's words: determiners, numbers, qualities and nouns in a row, of which the last noun names the thing.

use super::classes::Class;
use super::inflection;
use super::lists::{self, Closed};
use super::scene::{Count, Orphan, Quality, Scene, Thing};
use super::words::{Gap, Word};

/// A run of words that may name one thing, while it is read.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) end: usize,
    count: Count,
    has_determiner: bool,
    qualities: Vec<(usize, Quality)>,
    nouns: Vec<usize>,
    /// What the thing has: "red hair" of "a red-haired woman".
    borne: Vec<Thing>,
    collective: Option<usize>,
    is_complete: bool,
}

impl Run {
    /// The longest run from word `start`; empty if the word opens none.
    pub(super) fn read(words: &[Word], classes: &[Class], start: usize) -> Self {
        let mut run = Self {
            end: start,
            count: Count::Unsaid,
            has_determiner: false,
            qualities: Vec::new(),
            nouns: Vec::new(),
            borne: Vec::new(),
            collective: None,
            is_complete: false,
        };
        while run.end < words.len() {
            let taken = run.take(words, classes, start);
            if taken == 0 {
                break;
            }
            run.end += taken;
            if run.is_complete {
                break;
            }
        }
        run
    }

    /// How many words the run takes at its end.
    fn take(&mut self, words: &[Word], classes: &[Class], start: usize) -> usize {
        let at = self.end;
        let (word, class) = (&words[at], classes[at]);
        let next_class = words.get(at + 1).filter(|next| !next.starts_phrase()).map(|_| classes[at + 1]);
        let is_bare = self.nouns.is_empty();
        if at > start && word.starts_phrase() {
            // "the soft, white kitten": only behind a determiner, or "fox, red, snowy forest" would bind to the forest.
            let enumerates = is_bare
                && self.has_determiner
                && !self.qualities.is_empty()
                && word.gap == Gap::Comma
                && matches!(class, Class::Quality { .. } | Class::Participle);
            if !enumerates {
                return 0;
            }
        }
        let opens = is_bare && self.qualities.is_empty();
        match class {
            Class::Article if at == start => {
                (self.count, self.has_determiner) = (Count::Article, true);
                1
            }
            Class::Determiner if opens && !self.has_determiner => {
                self.has_determiner = true;
                if word.is("another") {
                    self.count = Count::Article;
                }
                1
            }
            Class::Number(n) if is_bare => {
                if let Some(taken) = self.take_borne(words, at, None, Count::Exact(n)) {
                    return taken;
                }
                self.count = Count::Exact(n);
                1
            }
            Class::Group(n) if is_bare => {
                let sets = match self.count {
                    Count::Exact(sets) => sets,
                    _ => 1,
                };
                self.count = Count::Exact(n.saturating_mul(sets));
                1 + usize::from(words.get(at + 1).is_some_and(|next| next.is("of")))
            }
            Class::Vague if opens => {
                self.count = Count::Several;
                1 + usize::from(words.get(at + 1).is_some_and(|next| next.is("of") && !next.starts_phrase()))
            }
            Class::Collective if is_bare => {
                if !matches!(self.count, Count::Exact(2..)) {
                    self.count = Count::Several;
                }
                self.collective = Some(at);
                2
            }
            Class::Adverb | Class::Praise if is_bare => 1,
            Class::Quality { category, value } => self.take_quality(words, at, (category, value), next_class),
            Class::Participle if Closed::Gerunds.has(&word.folded) || is_kind(words, classes, at) => {
                self.nouns.push(at);
                1
            }
            Class::Participle if is_bare => {
                self.qualities.push((at, Quality::open(word)));
                1
            }
            // "shell-shaped".
            Class::Noun if is_bare && is_shaped(words, at) => {
                self.qualities.push((at, Quality::shape(word)));
                2
            }
            Class::Noun => {
                if let Some(taken) = self.take_borne(words, at, None, Count::Unsaid) {
                    return taken;
                }
                let continues =
                    matches!(next_class, Some(Class::Noun | Class::Quality { .. } | Class::Participle));
                let is_open = is_bare && continues && !word.is_possessive;
                let is_followed = words.get(at + 2).is_some_and(|word| !word.starts_phrase())
                    && matches!(classes[at + 2], Class::Noun | Class::Quality { .. } | Class::Participle);
                if is_open && lists::is_adjectival(&word.folded) {
                    self.qualities.push((at, Quality::open(word)));
                } else if is_open && is_followed && lists::is_style(&word.folded, &words[at + 1].folded) {
                    let style = words[at..at + 2].iter().map(Quality::open);
                    self.qualities.extend(style.map(|quality| (at, quality)));
                    return 2;
                } else {
                    self.nouns.push(at);
                    self.is_complete = word.is_possessive;
                }
                1
            }
            // "year 2123 hospital" are two things.
            Class::Figure if !is_bare => {
                self.is_complete = true;
                1
            }
            Class::Figure => usize::from(matches!(next_class, Some(Class::Noun | Class::Quality { .. }))),
            Class::Conjunction => {
                let joins = is_bare
                    && !self.qualities.is_empty()
                    && (word.is("and") || word.is("&"))
                    && matches!(next_class, Some(Class::Quality { .. }));
                usize::from(joins)
            }
            _ => 0,
        }
    }

    fn take_quality(
        &mut self,
        words: &[Word],
        at: usize,
        (category, value): (&'static str, &'static str),
        next: Option<Class>,
    ) -> usize {
        let word = &words[at];
        let quality = Quality::listed(word, category, value);
        if !self.nouns.is_empty() {
            // "oak wood table", but "fox red" and "knight golden armor" end the thing.
            if category == "material" && next == Some(Class::Noun) {
                self.nouns.push(at);
                return 1;
            }
            return 0;
        }
        if let Some(taken) = self.take_borne(words, at, Some(quality.clone()), Count::Unsaid) {
            return taken;
        }
        // "yellow fur and blue stripes": a substance that no noun follows is one itself.
        let ends =
            !matches!(next, Some(Class::Noun | Class::Quality { .. } | Class::Participle | Class::Figure));
        let follows_quality = at > 0 && self.qualities.last().is_some_and(|(last, _)| last + 1 == at);
        if ends && follows_quality && is_substance(&word.folded, category) {
            self.nouns.push(at);
            return 1;
        }
        self.qualities.push((at, quality));
        1
    }

    /// "red-haired", "four-armed": another thing, with its quality or its number.
    fn take_borne(
        &mut self,
        words: &[Word],
        at: usize,
        quality: Option<Quality>,
        count: Count,
    ) -> Option<usize> {
        if quality.is_none() && count == Count::Unsaid {
            return None;
        }
        let next = words.get(at + 1).filter(|next| matches!(next.gap, Gap::Space | Gap::Hyphen))?;
        let lemma = borne_noun(&next.folded)?;
        self.borne.push(Thing {
            head: at + 1,
            lemma: lemma.to_owned(),
            compounds: Vec::new(),
            qualities: quality.into_iter().collect(),
            count,
            span: at..at + 2,
            is_negated: false,
            is_material: false,
        });
        Some(2)
    }

    /// The things that the run names. What names none goes to `orphans`.
    pub(super) fn settle(mut self, scene: &Scene, start: usize, orphans: &mut Vec<Orphan>) -> Vec<Thing> {
        let mut things = std::mem::take(&mut self.borne);
        let span = start..self.end;
        if self.nouns.is_empty() {
            let nominal = self.nominal(scene, start);
            self.nouns.extend(nominal);
        }
        // "a giraffe family": giraffes, several.
        if let [.., _, last] = self.nouns[..]
            && Closed::Collectives.has(&scene.words[last].lemma)
        {
            self.nouns.pop();
            self.count = match self.count {
                Count::Exact(2..) => self.count,
                _ => Count::Several,
            };
        }
        // "anime style" asks for anime.
        if let [.., _, last] = self.nouns[..]
            && ["style", "theme", "aesthetic", "vibe"].contains(&scene.words[last].lemma.as_str())
        {
            self.nouns.pop();
        }
        let Some(&head) = self.nouns.last() else {
            // "to the left", "on the right": no quality of anything.
            let is_quality = |quality: &Quality| quality.category != Some("side");
            let qualities: Vec<Quality> =
                self.qualities.into_iter().map(|(_, quality)| quality).filter(is_quality).collect();
            if !qualities.is_empty() || matches!(self.count, Count::Exact(_)) {
                orphans.push(Orphan {
                    qualities,
                    count: self.count,
                    span,
                    has_determiner: self.has_determiner,
                });
            }
            return things;
        };
        let qualities: Vec<Quality> = self.qualities.into_iter().map(|(_, quality)| quality).collect();
        let word = &scene.words[head];
        let count = match self.count {
            Count::Unsaid if is_many(word) => Count::Plural,
            Count::Article if is_many(word) => Count::Plural,
            count => count,
        };
        // "cat portrait" shows a cat: both are things.
        let is_picture = Closed::Media.has(&word.lemma) || Closed::Framing.has(&word.lemma);
        let shown = (is_picture && self.nouns.len() > 1).then(|| self.nouns.len() - 1);
        let thing = |nouns: &[usize], count: Count| -> Option<Thing> {
            let (&head, compounds) = nouns.split_last()?;
            Some(Thing {
                head,
                lemma: scene.words[head].lemma.clone(),
                compounds: compounds.to_vec(),
                qualities: qualities.clone(),
                count,
                span: span.clone(),
                is_negated: false,
                is_material: false,
            })
        };
        match shown {
            Some(shown) => {
                things.extend(thing(&self.nouns[..shown], count));
                things.extend(thing(&self.nouns[shown..], count));
            }
            None => things.extend(thing(&self.nouns, count)),
        }
        things
    }

    /// The word that stands for a noun in a run without one: "an orange", "made of glass", "a family of four".
    fn nominal(&mut self, scene: &Scene, start: usize) -> Option<usize> {
        if let Some(collective) = self.collective {
            return Some(collective);
        }
        let (at, quality) = self.qualities.last()?;
        let category = quality.category?;
        // A colour or a material can be had; "the left", "the old" are nothing.
        if !matches!(category, "colour" | "material" | "pattern" | "shape") {
            return None;
        }
        let before = start.checked_sub(1).filter(|_| scene.follows_closely(start)).map(|at| &scene.words[at]);
        let before_class = before.map(|_| scene.classes[start - 1]);
        let after = scene.words.get(self.end).filter(|word| !word.starts_phrase());
        let elliptic = after.is_some_and(|word| word.is("and") || word.is("&"));
        let is_said = self.has_determiner && !elliptic;
        let is_held = match before_class {
            Some(Class::Preposition) => before.is_some_and(|word| !word.is("in") && !word.is("to")),
            Some(Class::Verb) => matches!(category, "material" | "pattern"),
            _ => false,
        };
        // "of purple and gold" says how, and "glass, water and ice": a material alone, once something was named.
        let at = *at;
        let is_one =
            self.qualities.len() == 1 || !scene.words[start..self.end].iter().any(|word| word.is("and"));
        (is_said || is_held && is_one).then(|| {
            self.qualities.pop();
            at
        })
    }
}

/// "heart-shaped", of any noun.
fn is_shaped(words: &[Word], at: usize) -> bool {
    words.get(at + 1).is_some_and(|next| next.gap == Gap::Hyphen && next.is("shaped"))
}

/// "praying mantis", alone: a kind of thing, not what it does.
fn is_kind(words: &[Word], classes: &[Class], at: usize) -> bool {
    at == 0
        && words.len() == 2
        && words[0].folded.ends_with("ing")
        && !words[1].starts_phrase()
        && classes[1] == Class::Noun
}

/// "fur", "wood", "stripes": nouns among the qualities.
fn is_substance(folded: &str, category: &str) -> bool {
    #[rustfmt::skip]
    const ADJECTIVES: &[&str] = &[
        "wooden", "metallic", "golden", "gilded", "silvery", "silken", "woolen", "woollen",
    ];
    match category {
        "material" => !ADJECTIVES.contains(&folded),
        "pattern" => folded.ends_with('s'),
        _ => false,
    }
}

/// Whether a noun says that there are several.
fn is_many(word: &Word) -> bool {
    word.is_plural && !inflection::has_no_number(&word.folded)
}

/// "haired" of "red-haired" is about hair.
fn borne_noun(folded: &str) -> Option<&str> {
    #[rustfmt::skip]
    const BORNE: &[&str] = &[
        "hair", "head", "leg", "arm", "eye", "wing", "tail", "ear", "horn", "skin", "wall", "roof", "sleeve", "beard",
        "finger", "hand", "foot", "face", "neck", "wheel", "mast", "feather", "leaf", "stem", "handle", "nose", "breast",
    ];
    let root = folded.strip_suffix("ed")?;
    BORNE.iter().copied().find(|noun| {
        *noun == root
            || noun.strip_suffix('e') == Some(root)
            || (root.len() == noun.len() + 1
                && root.starts_with(*noun)
                && root.ends_with(noun.chars().last().unwrap_or('.')))
    })
}
