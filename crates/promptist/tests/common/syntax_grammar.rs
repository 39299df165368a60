//! Prompts with syntax, written from a grammar of every form, with the pieces that must survive known from how they
//! were written. The parser has no part in it.

#![allow(dead_code)] // every test binary uses its part of it

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// `count` prompts, each with its protected pieces in order. Every tenth is nested with ill will.
pub fn inputs(seed: u64, count: usize) -> Vec<(String, Vec<String>)> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count)
        .map(|idx| {
            let mut prompt =
                Prompt { random: &mut random, text: String::new(), pieces: Vec::new(), stray: Vec::new() };
            prompt.write(idx % 10 == 9);
            (prompt.text, prompt.pieces)
        })
        .collect()
}

const WORDS: [&str; 40] = [
    "a cat",
    "a girl",
    "red hat",
    "castle",
    "old man",
    "oak tree",
    "in the rain",
    "foggy street",
    "best quality",
    "masterpiece",
    "portrait",
    "by the sea",
    "blue eyes",
    "long hair",
    "cyberpunk city",
    "oil painting",
    "warm light",
    "standing",
    "a dog and a bird",
    "neon signs",
    "e-mail",
    "sci-fi",
    "rock'n'roll",
    "well-lit",
    "don't look",
    "état d'âme",
    "女の子",
    "café",
    "a mountain of gold",
    "very detailed",
    "brown fox",
    "silk dress",
    "snow",
    "smile",
    "studio ghibli",
    "at night",
    "close up",
    "sleeping",
    "two friends",
    "wide shot",
];

/// Phrases that only look like syntax, and what of them is protected all the same.
const DECOYS: [(&str, &[&str]); 30] = [
    ("rock 'n' roll", &[]),
    ("cats' tails", &[]),
    ("the ladies' choice and the dogs' bowls", &[]),
    ("'90s style", &["90s"]),
    ("'til dawn, 'twas night", &[]),
    ("C++ code", &[]),
    ("a < b > c", &[]),
    ("I <3 you", &[]),
    (":3", &[]),
    ("sad :( face", &[]),
    ("a man -- sitting", &[]),
    ("cat--dog hybrid", &[]),
    ("DO NOT AND NEVER", &[]),
    ("PLEASE BREAK EVERYTHING", &[]),
    ("a 5\" screen", &["5"]),
    ("time 10:30", &["10:30"]),
    ("ratio: wide", &[]),
    ("snake_case_name", &[]),
    ("foo__bar__baz", &[]),
    ("red | blue", &[]),
    ("price $$ low", &[]),
    ("left <- right -> up", &[]),
    ("()", &[]),
    ("[ ]", &[]),
    ("v1.5 of sd1.5", &[]),
    ("half - and half", &[]),
    ("Disney+", &[]),
    ("pre- and post-war", &[]),
    ("std::vector", &[]),
    ("a\\b", &[]),
];

const NUMBERS: [&str; 24] = [
    "3",
    "1girl",
    "2boys",
    "1970s",
    "35mm",
    "16:9",
    "10:30",
    "1,000",
    "24-70mm",
    "50%",
    "8k",
    "4K",
    "f/1.8",
    "1920x1080",
    "3/4",
    "2.35:1",
    "1st",
    "100",
    "90's",
    "12",
    "5'10",
    "3d",
    "2049",
    "45°",
];

const QUOTES: [&str; 14] = [
    "\"HELLO WORLD\"",
    "“open late”",
    "\"it's 5 o'clock\"",
    "'quoted'",
    "\"(not a weight)\"",
    "\"[a|b]\"",
    "„guten tag“",
    "«bonjour»",
    "「猫」",
    "'two words'",
    "\"50% off!\"",
    "\"a, b\"",
    "‘curly’",
    "\"__x__\"",
];

const TAGS: [&str; 22] = [
    "<lora:add_detail:0.8>",
    "<lora:tama5___StyleLora_v10:0.7>",
    "<lora:A__B__c:1>",
    "<lyco:style:0.5:0.7>",
    "<hypernet:anime:0.4>",
    "<lora:name with spaces:1>",
    "<lora:(odd) [name]:0.6>",
    "<random:red, blue|green>",
    "<setvar[color]:<random:red, blue>>",
    "<wildcard[1-3]:animals>",
    "<fromto[0.5]:cat, dog>",
    "<segment:face,0.6,0.5>",
    "<break>",
    "<trigger>",
    "<lora:SomethingSomething__0.3~0.6.safetensors>",
    "<repeat[1-3]: <random:cat, dog>>",
    "<param[CFG Scale]:1>",
    "<lora:x:-0.5>",
    "<LoRA: perfect face>",
    "<alternate:cat || dog>",
    "<mpprompt:a \"big\" cat>",
    "<lora:folder\\name:1>",
];

const EMBEDDINGS: [&str; 8] = [
    "embedding:EasyNegative",
    "embedding:bad-hands-5:1.1",
    "<easynegative>",
    "<embed:foo>",
    "embedding:sub/name.pt",
    "Embedding:x",
    "<bad_prompt_v2>",
    "embedding:style_1",
];

const WILDCARDS: [&str; 12] = [
    "__animal__",
    "__animal/big_cats__",
    "__x/y*__",
    "__colours*__",
    "__season_clothes(season=winter)__",
    "__init__",
    "__my wildcard__",
    "__a-b__",
    "__~artist__",
    "__x/*__",
    "__deep/er/path__",
    "___triple___",
];

/// White space and punctuation between phrases.
const SEPARATORS: [&str; 8] = [", ", ", ", ", ", " ", ",", "\n", " ,  ", "; "];

const ROUND: usize = 0;
const SQUARE: usize = 1;
const CURLY: usize = 2;
const BRACKETS: [(&str, &str); 3] = [("(", ")"), ("[", "]"), ("{", "}")];

struct Prompt<'a> {
    random: &'a mut ChaCha8Rng,
    text: String,
    pieces: Vec<String>,
    /// Kinds of brackets that were opened and will not be closed.
    stray: Vec<usize>,
}

impl Prompt<'_> {
    fn write(&mut self, is_hostile: bool) {
        let has_ands = self.random.random_bool(0.1);
        for phrase in 0..self.random.random_range(1..7) {
            if phrase > 0 {
                let separator = self.pick(&SEPARATORS);
                // `12,100` is one number.
                let is_digit = separator == "," && self.text.ends_with(|c: char| c.is_ascii_digit());
                self.text.push_str(if is_digit { ", " } else { separator });
            }
            if is_hostile && phrase == 0 {
                self.hostile();
            } else {
                self.phrase();
            }
            if has_ands {
                self.end_of_part();
            }
        }
        self.closing();
    }

    /// One phrase outside brackets.
    fn phrase(&mut self) {
        match self.random.random_range(0..20) {
            0..4 => self.words(),
            4 => {
                let (text, pieces) = self.pick(&DECOYS);
                self.text.push_str(text);
                self.pieces.extend(pieces.iter().map(|piece| (*piece).to_owned()));
            }
            5 => {
                self.words();
                self.text.push(' ');
                self.stray_bracket();
            }
            6 => {
                let keyword = self.pick(&["BREAK", "AND", "ADDCOL"]);
                self.words();
                self.text.push(' ');
                self.piece(keyword);
                self.text.push(' ');
                self.words();
            }
            7 => {
                let weighed = self.pick(&["tree+", "tree++", "house--", "river+++"]);
                self.piece(weighed);
            }
            8 if self.stray.is_empty() => {
                let weighed = self.pick(&["tree::2", "house::", "river::-0.5"]);
                self.piece(weighed);
            }
            9 => {
                let weighed = self.pick(&[
                    "(tree)++",
                    "(a tree)-",
                    "(tree)1.2",
                    "(a (tree)1.3)0.8",
                    "(\"a tree\", \"a house\").blend(1, 0.8)",
                    "(\"a tree\", \"a house\").and()",
                    "(tree).swap(house)",
                ]);
                self.piece(weighed);
            }
            _ => {
                if self.random.random_bool(0.5) {
                    self.words();
                    self.text.push(' ');
                }
                let depth = self.random.random_range(0..5);
                let form = self.form(depth);
                self.piece(&form);
            }
        }
    }

    /// `:1.2 AND` after a phrase, or `AND` alone.
    fn end_of_part(&mut self) {
        self.text.push_str(", ");
        self.words();
        if self.random.random_bool(0.5) {
            self.text.push(' ');
            let weight = self.pick(&[":1.2", ":0.5", ": 2"]);
            self.piece(weight);
        }
        self.text.push(' ');
        self.piece("AND");
        self.text.push(' ');
        self.words();
    }

    fn words(&mut self) {
        let words = self.pick(&WORDS);
        self.text.push_str(words);
    }

    fn piece(&mut self, piece: &str) {
        self.text.push_str(piece);
        self.pieces.push(piece.to_owned());
    }

    /// A bracket without its other one. One that closes must have nothing to close.
    fn stray_bracket(&mut self) {
        let kind = self.random.random_range(0..3);
        if self.stray.contains(&kind) || self.random.random_bool(0.5) {
            self.stray.push(kind);
            self.text.push_str(BRACKETS[kind].0);
            self.text.push_str("oops");
        } else {
            self.text.push_str("oops");
            self.text.push_str(BRACKETS[kind].1);
        }
    }

    /// Tags and flags at the end.
    fn closing(&mut self) {
        if self.random.random_bool(0.3) {
            for _ in 0..self.random.random_range(1..4) {
                let space = self.pick(&[", ", " "]);
                self.text.push_str(space);
                let tag = self.pick(&TAGS);
                self.piece(tag);
            }
        }
        if self.random.random_bool(0.3) {
            for _ in 0..self.random.random_range(1..4) {
                self.text.push(' ');
                let flag = self.pick(&[
                    "--ar 16:9",
                    "--no people, cars",
                    "--tile",
                    "--v 6.1",
                    "--s 250",
                    "--style raw",
                    "—ar 3:2",
                    "--niji 6",
                    "--steps 30",
                    "--seed=42",
                    "--prompt \"a cat\"",
                    "--ar {16:9, 1:1}",
                    "--raw",
                    "--no (red) hats",
                    "--sref https://x.y/z.png 123",
                    "--some-new-flag 7",
                    "--chaos 10",
                ]);
                self.piece(flag);
            }
        }
        if self.random.random_bool(0.1) {
            self.text.push_str(" \n");
        }
    }

    /// One form, whole, that is a piece wherever it stands outside brackets.
    fn form(&mut self, depth: usize) -> String {
        match self.random.random_range(0..if depth == 0 { 8 } else { 24 }) {
            0 => self.pick(&NUMBERS).to_owned(),
            1 => self.pick(&QUOTES).to_owned(),
            2 | 3 => self.pick(&TAGS).to_owned(),
            4 => self.pick(&EMBEDDINGS).to_owned(),
            5 | 6 => self.pick(&WILDCARDS).to_owned(),
            7 => self.escape(),
            kind => self.group(kind, depth - 1),
        }
    }

    fn escape(&mut self) -> String {
        let words = self.pick(&WORDS);
        match self.random.random_range(0..5) {
            0 => format!("\\({words}\\)"),
            1 => format!("\\[{words}\\]"),
            2 => format!("\\{{{words}\\}}"),
            // Alone; of two kinds, so that they are no pair.
            3 => "\\[".to_owned(),
            _ => "\\)".to_owned(),
        }
    }

    fn group(&mut self, kind: usize, depth: usize) -> String {
        match kind {
            8 | 9 => format!("({})", self.content(ROUND, depth)),
            10 | 11 => {
                let content = self.content(ROUND, depth);
                let weight = self.pick(&["1.2", "0.85", "-1", ".5", " 1.1 ", "+1.3", "2"]);
                format!("({content}:{weight})")
            }
            12 => format!("[{}]", self.content(SQUARE, depth)),
            13 => format!("{{{}}}", self.content(CURLY, depth)),
            14..17 => {
                let (a, b) = (self.content(SQUARE, depth), self.content(SQUARE, depth));
                let step = self.pick(&["0.5", "10", " 3", ".25", "1.0"]);
                match self.random.random_range(0..4) {
                    0 => format!("[{a}:{b}:{step}]"),
                    1 => format!("[{a}:{step}]"),
                    2 => format!("[{a}::{step}]"),
                    _ => format!("[:{b}:{step}]"),
                }
            }
            17 | 18 => format!("[{}]", self.options(SQUARE, depth)),
            19 | 20 => format!("{{{}}}", self.options(CURLY, depth)),
            21 => {
                let prefix = self.pick(&["2$$", "1-3$$", "2$$ and $$", "-2$$"]);
                format!("{{{prefix}{}}}", self.options(CURLY, depth))
            }
            22 => {
                let (a, b) = (self.content(CURLY, depth), self.content(CURLY, depth));
                format!("{{0.5::{a}|{b}|1.5::snow}}")
            }
            _ => {
                let value = self.content(CURLY, depth);
                let assigns = self.pick(&["=", "=!", ":"]);
                match self.random.random_range(0..3) {
                    0 => "${season}".to_owned(),
                    _ => format!("${{season{assigns}{value}}}"),
                }
            }
        }
    }

    fn options(&mut self, bracket: usize, depth: usize) -> String {
        let options: Vec<String> =
            (0..self.random.random_range(2..5)).map(|_| self.content(bracket, depth)).collect();
        options.join("|")
    }

    /// What stands inside `bracket`: words, forms, and sometimes a bracket of another kind that nothing closes.
    fn content(&mut self, bracket: usize, depth: usize) -> String {
        let mut text = self.pick(&WORDS).to_owned();
        for _ in 0..self.random.random_range(0..3) {
            text.push_str(self.pick(&[", ", " ", ",\n"]));
            if self.random.random_bool(0.6) {
                text.push_str(&self.form(depth));
            } else {
                text.push_str(self.pick(&WORDS));
            }
        }
        if self.random.random_bool(0.05) {
            let other = (bracket + self.random.random_range(1..3)) % BRACKETS.len();
            text.push(' ');
            text.push_str(BRACKETS[other].0);
            text.push_str("oops");
        }
        text
    }

    /// Deep nesting, and brackets in numbers that no one types.
    fn hostile(&mut self) {
        let depth = self.random.random_range(1..64);
        let mut form = self.form(0);
        for _ in 0..depth {
            let other = self.pick(&WORDS);
            form = match self.random.random_range(0..9) {
                0 => format!("({form})"),
                1 => format!("({form}:1.2)"),
                2 => format!("[{form}]"),
                3 => format!("[{form}:{other}:0.5]"),
                4 => format!("[{other}:{form}:3]"),
                5 => format!("[{other}|{form}]"),
                6 => format!("{{{form}|{other}}}"),
                7 => format!("{{2$${form}|0.5::{other}}}"),
                _ => format!("${{x={form}}}"),
            };
        }
        let form = format!("({form})");
        let strays = self.random.random_range(0..64);
        match self.random.random_range(0..4) {
            0 => {
                // Nothing to close.
                let closing = self.pick(&[")", "]", "}", ")]}", ">"]).repeat(strays);
                self.text.push_str(&closing);
                self.text.push(' ');
            }
            1 => {
                self.text.push_str(&"[{".repeat(strays));
                self.stray.extend([SQUARE, CURLY]);
                self.text.push_str("oops ");
            }
            2 => {
                self.text.push_str(&"\\".repeat(2 * (strays / 2)));
                self.pieces.extend(std::iter::repeat_n("\\\\".to_owned(), strays / 2));
                self.text.push(' ');
            }
            _ => {}
        }
        self.piece(&form);
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *from.choose(self.random).expect("not empty")
    }
}
