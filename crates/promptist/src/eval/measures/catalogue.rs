//! What there is to measure, and which way is better.

use crate::eval::config::EvalConfig;
use crate::eval::report::{Better, Level, Measure, MeasureFamily, Unit};
use crate::reward::TermConfig;

use Better::{Higher, Lower, Neither};
use MeasureFamily::{Image, Judge, Proxy, Text};

/// What decides which measures there are, beside the config.
#[derive(Debug, Clone, Copy, Default)]
pub struct Available {
    /// The artists' file is there.
    pub artists: bool,
    /// There is training text to look words up in.
    pub known_words: bool,
    /// PickScore judges images.
    pub pick_score: bool,
    /// The n-gram judge has read something.
    pub ngrams: bool,
    /// The judge of quality was fitted.
    pub quality: bool,
}

/// The key of a reward's measure.
pub fn reward_key(term: &TermConfig) -> String {
    format!("reward_{}", term.name)
}

/// The measures of an evaluation, in the order of its tables: images, text, proxies, judges.
pub fn measures(config: &EvalConfig, available: Available) -> Vec<Measure> {
    let mut all = Vec::new();
    if config.images.is_some() {
        all.extend(image_measures(available.pick_score));
    }
    all.extend(text_measures(config, available));
    all.extend(config.reward.iter().map(|term| {
        let key = reward_key(term);
        let title = format!("reward `{}` (proxy)", term.name);
        let what =
            "A reward that reads the text and sees no picture: it stands in for images and is no substitute.";
        row(Proxy, &key, &title, Unit::Score, Higher, what)
    }));
    all.extend(judge_measures(available));
    all
}

fn image_measures(pick_score: bool) -> Vec<Measure> {
    let mut all = vec![
        primary(row(
            Image,
            "image_reward",
            "reward",
            Unit::Score,
            Higher,
            "The paper's: aesthetic gain over the input's own images, less a charge where they leave the input.",
        )),
        row(
            Image,
            "aesthetic_gain",
            "aesthetic gain",
            Unit::Score,
            Higher,
            "Mean aesthetic score of the images less that of the input's own.",
        ),
        row(
            Image,
            "relevance",
            "relevance",
            Unit::Score,
            Higher,
            "Mean of min(20 · max(cos, 0) − 5.6, 0): 0 where images are on the input's subject, less where they leave it.",
        ),
        row(
            Image,
            "aesthetic",
            "aesthetic score",
            Unit::Aesthetic,
            Higher,
            "Mean over the images, by the paper's head.",
        ),
        row(
            Image,
            "clip_cosine",
            "CLIP cosine",
            Unit::Cosine,
            Higher,
            "Mean over the images, with the user's input.",
        ),
    ];
    if pick_score {
        all.push(primary(row(
            Image,
            "pick_score_gain",
            "PickScore gain",
            Unit::Score,
            Higher,
            "Mean PickScore of the images with the user's input, less that of the input's own: a judge that no reward is made of.",
        )));
        all.push(row(
            Image,
            "pick_score",
            "PickScore",
            Unit::Score,
            Higher,
            "Mean over the images, with the user's input.",
        ));
    }
    all
}

fn text_measures(config: &EvalConfig, available: Available) -> Vec<Measure> {
    let text = |key, title, unit, better, what| row(Text, key, title, unit, better, what);
    let share = |key, title, better, what| row(Text, key, title, Unit::Share, better, what);
    let count = |key, title, what| row(Text, key, title, Unit::Count, Neither, what);
    let set =
        |key, title, what| Measure { level: Level::Set, ..row(Text, key, title, Unit::Share, Higher, what) };
    let mut all = vec![
        primary(share(
            "content_kept",
            "content kept",
            Higher,
            "Share of the input's objects, attributes, counts, negations and names that the rewrite keeps.",
        )),
        share(
            "all_content_kept",
            "keeping all content",
            Higher,
            "Share of rewrites that lose nothing of the input.",
        ),
        share(
            "objects_kept",
            "objects kept",
            Higher,
            "Share of the things asked for, of inputs that ask for any.",
        ),
        share(
            "attributes_kept",
            "attributes kept",
            Higher,
            "Share of the qualities bound to things, likewise.",
        ),
        share("counts_kept", "counts kept", Higher, "Share of the numbers of things, likewise."),
        share("negations_kept", "negations kept", Higher, "Share of what is said not to be there, likewise."),
        share(
            "names_kept",
            "names kept",
            Higher,
            "Share of names, quoted text, dates and figures, likewise.",
        ),
        share(
            "content_words_kept",
            "content words kept",
            Higher,
            "Share of the input's content words that the rewrite has: a plainer measure of the same.",
        ),
        primary(share(
            "degenerate",
            "degenerate",
            Lower,
            "Share of rewrites that the system broke: empty, cut, repeated, broken words or brackets.",
        )),
        share(
            "degenerate_with_input",
            "degenerate, inputs' flaws included",
            Lower,
            "Share of rewrites that are broken, be it by the user.",
        ),
        share(
            "three_modifiers",
            "adding ≥ 3 modifiers",
            Neither,
            "Share of rewrites with three or more style modifiers more.",
        ),
        count("modifiers", "modifiers added", "Added phrases that are style modifiers."),
        count("added_phrases", "phrases added", "Added phrases, each once."),
        count("added_words", "words added", "Words of what was added."),
        text(
            "tokens",
            "length",
            Unit::Tokens,
            Neither,
            "Tokens of the rewrite to the target's text encoder, special ones not counted.",
        ),
        share(
            "over_target",
            "over the encoder's length",
            Lower,
            "Share of rewrites whose end the target's encoder does not read.",
        ),
        share(
            "artist",
            "adding an artist",
            Lower,
            "Share of rewrites that name an artist whom the input does not.",
        ),
        share(
            "artist_of_list",
            "adding an artist of the embedded list",
            Lower,
            "The same, by the embedded list alone.",
        ),
    ];
    if available.artists {
        all.push(share(
            "artist_of_file",
            "adding an artist of the file",
            Lower,
            "The same, by the config's file alone.",
        ));
    }
    all.extend([
        share("unsafe", "unsafe", Lower, "Share of rewrites that break a rule of the safety filter."),
        share(
            "unsafe_added",
            "unsafe, of safe inputs",
            Lower,
            "Share of rewrites that break such a rule where the input breaks none.",
        ),
        share(
            "unchanged",
            "unchanged",
            Neither,
            "Share of rewrites that are the input, white space around it aside.",
        ),
        share(
            "refused",
            "refused",
            Neither,
            "Share of inputs to which a model's filter adds nothing because they are unsafe.",
        ),
    ]);
    if available.known_words {
        all.push(share(
            "unknown_word",
            "adding an unknown word",
            Lower,
            "Share of rewrites with an added word that the training text has nowhere.",
        ));
    }
    all.extend([
        set("distinct_1", "distinct words", "Distinct words over words of all that was added."),
        set("distinct_2", "distinct pairs of words", "Distinct pairs of words over pairs, within additions."),
        set("distinct_phrases", "distinct phrases", "Distinct added phrases over added phrases."),
    ]);
    if config.diversity.is_some() {
        all.extend([
            row(Text, "vendi", "Vendi score of candidates", Unit::Count, Higher, "Effective number of different answers to one input, by the cosine of their words' and pairs' counts."),
            share("diverse", "diverse candidates", Higher, "Share of inputs with four or more candidates two added phrases from the first."),
            row(Text, "different_candidates", "candidates unlike the first", Unit::Count, Higher, "Candidates two added phrases or more from the first."),
            row(Text, "distinct_candidates", "distinct candidates", Unit::Count, Higher, "Distinct sets of added phrases among an input's candidates."),
        ]);
    }
    if config.fit.is_some() {
        all.extend([
            text("fit_gain", "fit of additions", Unit::NatsPerToken, Higher, "Nats a token that an addition is likelier after its own input than after another, to the model itself."),
            share("fit_own_likelier", "additions likelier after their own input", Higher, "Share of additions whose fit is above 0."),
        ]);
    }
    all
}

fn judge_measures(available: Available) -> Vec<Measure> {
    let mut all = Vec::new();
    if available.ngrams {
        all.push(row(
            Judge,
            "human_bits_per_byte",
            "surprise to people's n-grams",
            Unit::BitsPerByte,
            Lower,
            "Bits a byte of what was added, to an n-gram model of what people write; 2 to its power is the perplexity of a byte.",
        ));
    }
    if available.quality {
        all.push(row(
            Judge,
            "foretold_quality",
            "quality foretold from words",
            Unit::Score,
            Higher,
            "By a regression of people's ratings on words; 0 is the mean rated prompt. It is weak: see its own correlation.",
        ));
    }
    all.push(Measure {
        level: Level::Set,
        ..row(
            Judge,
            "commonness",
            "commonness of additions",
            Unit::Share,
            Lower,
            "Mean share of all rewrites that have an added phrase too: 1 if everything gets the same.",
        )
    });
    all
}

fn row(family: MeasureFamily, key: &str, title: &str, unit: Unit, better: Better, what: &str) -> Measure {
    Measure {
        key: key.to_owned(),
        title: title.to_owned(),
        description: what.to_owned(),
        unit,
        better,
        family,
        is_primary: false,
        level: Level::Row,
    }
}

fn primary(measure: Measure) -> Measure {
    Measure { is_primary: true, ..measure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_file::ConfigFile;

    #[test]
    fn keys_are_each_once_and_tables_follow_each_other() {
        let config = EvalConfig::from_toml(include_str!("../../../../../configs/eval.toml")).expect("good");
        let available =
            Available { artists: true, known_words: true, pick_score: true, ngrams: true, quality: true };
        let measures = measures(&config, available);
        let mut keys: Vec<&str> = measures.iter().map(|measure| measure.key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), measures.len());
        assert!(measures.is_sorted_by_key(|measure| measure.family));
        assert!(measures.iter().all(|measure| !measure.is_primary || measure.better != Neither));
        assert!(measures.iter().all(|measure| measure.description.ends_with('.')));
    }
}
