//! Categories of phrases with names: what `@artists` bans.
//!
//! A category is a list in `data/lists/`, one phrase a line, each matched as if it were a ban entry of its
//! own. The lists are curated by hand: nets with holes, not classifiers. Most are those by which the data
//! stage tells modifiers from subjects ([`crate::data::main_content`]), so "front" is a word of `@camera`
//! and "design" one of `@medium`. [`super::categorize`] asks which of them a phrase belongs to.

use std::fmt;
use std::sync::LazyLock;

/// A named list of phrases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// Names of artists, photographers, architects and directors, and the words that credit: "art by".
    Artists,
    /// Persons: "woman", "knight", "crowd".
    People,
    /// What is worn: "dress", "armor", "necklace".
    Clothing,
    /// Hair, skin, face, eyes, make-up.
    HairAndSkin,
    /// Praise, sharpness, resolution: "masterpiece", "8k".
    QualityWords,
    /// What it is made as: "oil painting", "3d render".
    Medium,
    /// Movement, genre, mood, composition: "art nouveau", "moody".
    Style,
    /// "volumetric lighting", "golden hour".
    Lighting,
    /// Lens, film, framing: "35mm", "bokeh".
    Camera,
    /// Render engines and programs: "octane render".
    Engines,
    /// Where pictures are shown: "artstation".
    Websites,
    /// Colours and words for colour.
    Colors,
    /// Writing, captions, logos, signatures, watermarks.
    TextAndLogos,
    /// Sexual content, minors, hate, gore: the words of [`crate::data::safety`] that are refused on their own.
    Unsafe,
}

impl Category {
    /// Every category, in the order in which they are shown.
    pub const ALL: [Self; 14] = [
        Self::Artists,
        Self::People,
        Self::Clothing,
        Self::HairAndSkin,
        Self::QualityWords,
        Self::Medium,
        Self::Style,
        Self::Lighting,
        Self::Camera,
        Self::Engines,
        Self::Websites,
        Self::Colors,
        Self::TextAndLogos,
        Self::Unsafe,
    ];

    /// Its name, as it is written behind `@`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Artists => "artists",
            Self::People => "people",
            Self::Clothing => "clothing",
            Self::HairAndSkin => "hair-and-skin",
            Self::QualityWords => "quality-words",
            Self::Medium => "medium",
            Self::Style => "style",
            Self::Lighting => "lighting",
            Self::Camera => "camera",
            Self::Engines => "engines",
            Self::Websites => "websites",
            Self::Colors => "colors",
            Self::TextAndLogos => "text-and-logos",
            Self::Unsafe => "unsafe",
        }
    }

    /// The category of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.name() == name)
    }

    /// What is in it, in one line.
    pub fn description(self) -> &'static str {
        match self {
            Self::Artists => {
                "names of artists, photographers, architects, directors; credits: art by, style of"
            }
            Self::People => "persons: kinds, kin, age, calling, rank",
            Self::Clothing => "what is worn: garments, shoes, headgear, armour, jewellery",
            Self::HairAndSkin => "hair, skin, face, eyes, make-up",
            Self::QualityWords => "praise, sharpness, resolution: masterpiece, highly detailed, 8k",
            Self::Medium => "what it is made as: oil painting, photograph, 3d render",
            Self::Style => "movement, genre, mood, composition: art nouveau, moody, minimalist",
            Self::Lighting => "light: volumetric lighting, golden hour, glow",
            Self::Camera => "lens, film, framing: 35mm, bokeh, wide shot",
            Self::Engines => "render engines and programs: octane render, unreal engine",
            Self::Websites => "where pictures are shown: artstation, pixiv",
            Self::Colors => "colours and words for colour",
            Self::TextAndLogos => "writing, captions, logos, signatures, watermarks",
            Self::Unsafe => "sexual content, minors, hate, gore",
        }
    }

    /// The phrases of its list, each a ban entry.
    pub fn entries(self) -> &'static [String] {
        &ENTRIES[self as usize]
    }

    fn list(self) -> &'static str {
        match self {
            Self::Artists => include_str!("../../data/lists/artists.txt"),
            Self::People => include_str!("../../data/lists/people.txt"),
            Self::Clothing => include_str!("../../data/lists/clothing.txt"),
            Self::HairAndSkin => include_str!("../../data/lists/hair-and-skin.txt"),
            Self::QualityWords => include_str!("../../data/lists/quality.txt"),
            Self::Medium => include_str!("../../data/lists/mediums.txt"),
            Self::Style => include_str!("../../data/lists/styles.txt"),
            Self::Lighting => include_str!("../../data/lists/lighting.txt"),
            Self::Camera => include_str!("../../data/lists/camera.txt"),
            Self::Engines => include_str!("../../data/lists/engines.txt"),
            Self::Websites => include_str!("../../data/lists/websites.txt"),
            Self::Colors => include_str!("../../data/lists/colors.txt"),
            Self::TextAndLogos => include_str!("../../data/lists/text-and-logos.txt"),
            Self::Unsafe => include_str!("../../data/lists/unsafe.txt"),
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

static ENTRIES: LazyLock<Vec<Vec<String>>> = LazyLock::new(|| {
    let lines = |list: &'static str| {
        list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    };
    let entries = |category: Category| -> Vec<String> {
        match category {
            Category::Artists => artists_entries(lines),
            Category::Unsafe => unsafe_entries(lines(category.list())),
            _ => lines(category.list()).map(str::to_owned).collect(),
        }
    };
    Category::ALL.into_iter().map(entries).collect()
});

/// Names, and the words that credit others. "hopper" is also a grasshopper's half: such names count only
/// behind "by" ("style of" is a credit whoever follows).
fn artists_entries<I: Iterator<Item = &'static str>>(lines: impl Fn(&'static str) -> I) -> Vec<String> {
    let common: Vec<&str> = lines(include_str!("../../data/lists/artists_common.txt")).collect();
    lines(Category::Artists.list())
        .chain(lines(include_str!("../../data/lists/artists_more.txt")))
        .filter(|name| !common.contains(name))
        .chain(lines(include_str!("../../data/lists/credits.txt")))
        .map(str::to_owned)
        .chain(common.iter().map(|name| format!("by {name}")))
        .collect()
}

/// The sections that are refused on their own; their harmless exceptions ("naked eye") are banned with them.
fn unsafe_entries(lines: impl Iterator<Item = &'static str>) -> Vec<String> {
    let mut section = "";
    let mut entries = Vec::new();
    for line in lines {
        if line.starts_with('[') {
            section = line;
        } else if ["[sexual]", "[minors]", "[hate]", "[gore]"].contains(&section) && !line.starts_with('=') {
            entries.push(line.to_owned());
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::super::patterns::Phrase;
    use super::*;

    #[test]
    fn every_line_of_every_list_is_an_entry() {
        for category in Category::ALL {
            assert_eq!(Category::from_name(category.name()), Some(category));
            assert!(category.entries().len() > 50, "{category}");
            assert!(!category.description().is_empty());
            for line in category.entries() {
                assert!(Phrase::parse(line).is_ok(), "{category}: {line}");
                let is_comment_or_form =
                    line.starts_with(['#', '@', '/', '"', '[', '=']) || line.contains('*');
                assert!(!is_comment_or_form, "{category}: {line}");
            }
        }
    }

    #[test]
    fn common_words_are_names_only_in_credits() {
        let artists = Category::Artists.entries();
        let has = |entry: &str| artists.iter().any(|line| line == entry);
        assert!(has("greg rutkowski") && has("edward hopper") && has("by hopper") && has("art by"));
        assert!(!has("hopper") && !has("munch"));
    }

    #[test]
    fn words_that_depend_on_others_are_not_unsafe_by_themselves() {
        let entries = Category::Unsafe.entries();
        let has = |entry: &str| entries.iter().any(|line| line == entry);
        assert!(has("nude") && has("severed head") && !has("child") && !has("blood") && !has("naked eye"));
    }
}
