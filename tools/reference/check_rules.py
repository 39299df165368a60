"""Do answers keep their rules? Bans and musts, checked apart from the program that enforces them.

    python tools/reference/check_rules.py FILE.jsonl... [--lists FOLDER]
    python tools/reference/check_rules.py --self-test

A line of a file is `{"text": answer, "context": text that was there before, "bans": [...], "musts": [...]}`;
all but `text` may be missing. `context` is a prefix of `text`: what stands complete in it is excused. Prints
a JSON line for every answer that breaks a rule, then a summary; exits with 1 if one did or was unreadable.

The rules are those that `promptist::constraints` documents, written another way: the whole text is cut into
tokens, windows of tokens are looked up in sets, words are cut in two to find phrases that are written
together, plurals are traced back to their singulars, regexes are Python's. Regexes that Python cannot read
(`\\p{...}`, class operations) are errors here, never passed over.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISTS = ROOT / "crates/promptist/data/lists"
CASES = ROOT / "crates/promptist/tests/data/rules.jsonl"

LIST_OF_CATEGORY = {
    "people": "people.txt",
    "clothing": "clothing.txt",
    "hair-and-skin": "hair-and-skin.txt",
    "quality-words": "quality.txt",
    "medium": "mediums.txt",
    "style": "styles.txt",
    "lighting": "lighting.txt",
    "camera": "camera.txt",
    "engines": "engines.txt",
    "websites": "websites.txt",
    "colors": "colors.txt",
    "text-and-logos": "text-and-logos.txt",
}

APOSTROPHES = "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}\u201a\u201b\u02bc\u2032\u00b4"
INVISIBLE = re.compile(
    "[\u00ad\u115f\u1160\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
    "\U000e0001\U000e0020-\U000e007f]"
)
UNDECOMPOSED = str.maketrans({
    "æ": "ae", "đ": "d", "ħ": "h", "ı": "i", "ł": "l", "ø": "o", "œ": "oe", "ß": "ss", "ŧ": "t", "ς": "σ",
})  # fmt: skip
# White space as Unicode has it; Python's `\s` holds four separators more.
JOINT = re.compile(
    "[\\t-\\r \\x85\\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000_'`\u2010-\u2015\u2212-]"
)
STAND_IN = "\N{LATIN LETTER BILABIAL CLICK}"
"""A letter that stands for `*` while a phrase is cut into words, and stays with the word it touches."""


@dataclass(frozen=True)
class Token:
    """A word or a mark, folded, with the characters of the text that it was made of."""

    text: str
    start: int
    last: int
    """The character that completed it."""

    @property
    def is_word(self) -> bool:
        return self.text[0].isalnum()


@lru_cache(maxsize=None)
def fold(character: str) -> str:
    if character in APOSTROPHES:
        return "'"
    if character in "™℠":
        return character
    decomposed = unicodedata.normalize("NFKD", character)
    kept = [c for c in decomposed if not unicodedata.category(c).startswith("M")]
    return INVISIBLE.sub("", "".join(kept).lower().translate(UNDECOMPOSED))


def tokens_of(text: str) -> list[Token]:
    folded = [(c, at) for at, character in enumerate(text) for c in fold(character)]
    tokens: list[Token] = []
    at = 0
    while at < len(folded):
        end = at + 1
        if folded[at][0].isalnum():
            while end < len(folded) and folded[end][0].isalnum():
                end += 1
            word = "".join(c for c, _ in folded[at:end])
            tokens.append(Token(word, folded[at][1], folded[end - 1][1]))
            # An initial takes its full stop along.
            if len(word) == 1 and word.isalpha() and end < len(folded) and folded[end][0] == ".":
                end += 1
        elif not JOINT.match(folded[at][0]):
            tokens.append(Token(folded[at][0], folded[at][1], folded[at][1]))
        at = end
    return tokens


def singulars(word: str) -> set[str]:
    """Every word of which `word` may be the plural."""
    found = set()

    def trace(ending: str, instead: str, allowed: str) -> None:
        if word.endswith(ending):
            singular = word[: len(word) - len(ending)] + instead
            if len(singular) > 1 and "a" <= singular[-1] <= "z" and re.search(allowed, singular):
                found.add(singular)

    trace("s", "", r"(?<![sxzy])(?<!sh)$|[aeiou]y$")
    trace("es", "", r"([sxzo]|[cs]h)$")
    trace("ies", "y", r"[^aeiou]y$")
    trace("ves", "f", r"(?<!f)f$")
    trace("ves", "fe", r"$")
    for singular, plural in [
        ("man", "men"), ("child", "children"), ("person", "people"), ("foot", "feet"), ("tooth", "teeth"),
        ("goose", "geese"), ("mouse", "mice"),
    ]:  # fmt: skip
        trace(plural, singular, r"$")
    return found


@dataclass(frozen=True)
class Starred:
    """A word of a phrase with stars."""

    stem: str
    open_start: bool
    open_end: bool

    @staticmethod
    def of(word: str) -> Starred:
        return Starred(word.strip(STAND_IN), word.startswith(STAND_IN), word.endswith(STAND_IN))

    def matches(self, token: str) -> bool:
        match self.open_start, self.open_end:
            case True, True:
                return self.stem in token
            case True, False:
                return token.endswith(self.stem)
            case False, True:
                return token.startswith(self.stem)
            case _:
                return token == self.stem


@dataclass
class Bans:
    """Ban entries, sorted by how they are looked up. Values are indices of entries."""

    inflected: dict[tuple[str, ...], set[int]] = field(default_factory=dict)
    exact: dict[tuple[str, ...], set[int]] = field(default_factory=dict)
    starred: list[tuple[list[Starred], int]] = field(default_factory=list)
    joined: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    """Phrases that also stand where they are written as one word: all words but the last, the last."""
    joined_starred: list[tuple[str, Starred, int]] = field(default_factory=list)
    regexes: list[tuple[str, int]] = field(default_factory=list)

    def add(self, entry: str, index: int, lists: Path) -> None:
        entry = entry.strip()
        if entry.startswith("@"):
            for line in category(entry[1:], lists):
                self.add_phrase(line, index)
        elif entry.startswith("/"):
            if len(entry) < 3 or not entry.endswith("/"):
                raise ValueError(f"{entry}: not a regex")
            self.regexes.append((python_regex(entry[1:-1]), index))
        elif len(entry) > 1 and entry.startswith('"') and entry.endswith('"'):
            self.exact.setdefault(words_of(entry[1:-1]), set()).add(index)
        else:
            self.add_phrase(entry, index)

    def add_phrase(self, phrase: str, index: int) -> None:
        if "*" not in phrase:
            words = words_of(phrase)
            self.inflected.setdefault(words, set()).add(index)
            if can_be_joined(words):
                self.joined.setdefault(("".join(words[:-1]), words[-1]), set()).add(index)
            return
        words = words_of(phrase.replace("*", STAND_IN))
        if any(word.strip(STAND_IN) == "" or STAND_IN in word.strip(STAND_IN) for word in words):
            raise ValueError(f"{phrase}: a `*` that is not at the edge of a word")
        starred = [Starred.of(word) for word in words]
        self.starred.append((starred, index))
        *before, last = starred
        stars_between = any(one.open_end or two.open_start for one, two in pairwise(starred))
        if can_be_joined([word.stem for word in starred]) and not stars_between:
            edges = Starred(last.stem, before[0].open_start, last.open_end)
            self.joined_starred.append(("".join(word.stem for word in before), edges, index))

    def find(self, text: str, kept: int) -> dict[int, str]:
        """The entries that stand in `text` and end behind its first `kept` characters, and where."""
        found: dict[int, str] = {}

        def hit(indices: set[int], start: int, last: int) -> None:
            for index in indices:
                found.setdefault(index, text[start : last + 1])

        tokens = tokens_of(text)
        longest = max((len(key) for key in [*self.inflected, *self.exact]), default=0)
        for end, last in enumerate(tokens):
            if last.last < kept:
                continue
            for length in range(1, min(longest, end + 1) + 1):
                window = tokens[end + 1 - length : end + 1]
                before = tuple(token.text for token in window[:-1])
                hit(self.exact.get((*before, last.text), set()), window[0].start, last.last)
                for word in {last.text} | singulars(last.text):
                    hit(self.inflected.get((*before, word), set()), window[0].start, last.last)
            for at in range(1, len(last.text)):
                before, rest = last.text[:at], last.text[at:]
                for word in {rest} | singulars(rest):
                    hit(self.joined.get((before, word), set()), last.start, last.last)
            for before, edges, index in self.joined_starred:
                if joined_stands(before, edges, last.text):
                    hit({index}, last.start, last.last)
            for words, index in self.starred:
                window = tokens[max(0, end + 1 - len(words)) : end + 1]
                stands = len(window) == len(words) and all(
                    word.matches(token.text) for word, token in zip(words, window, strict=True)
                )
                if stands or (len(window) == len(words) and plural_stands(words, window)):
                    hit({index}, window[0].start, last.last)
        for pattern, index in self.regexes:
            # What is left behind the match is shorter than what is behind the context.
            rest = f"(?=[\\s\\S]{{0,{len(text) - kept - 1}}}\\Z)" if kept else ""
            match = re.search(f"(?:{pattern}){rest}", text, re.IGNORECASE) if kept < len(text) else None
            if match:
                found.setdefault(index, match.group())
        return found


def plural_stands(words: list[Starred], window: list[Token]) -> bool:
    """The last word in its plural; behind a star only its end is known, before one nothing."""
    *before, last = words
    token = window[-1].text
    ends = [token[at:] for at in range(len(token))] if last.open_start else [token]
    return (
        not last.open_end
        and all(word.matches(token.text) for word, token in zip(before, window[:-1], strict=True))
        and any(last.stem in singulars(end) for end in ends)
    )


def can_be_joined(words: Sequence[str]) -> bool:
    """Two words or more, no marks, and no digits that would make another number."""

    def is_digit(c: str) -> bool:
        return unicodedata.category(c).startswith("N")

    return (
        len(words) > 1
        and all(word[0].isalnum() for word in words)
        and not any(is_digit(one[-1]) and is_digit(two[0]) for one, two in pairwise(words))
    )


def joined_stands(before: str, last: Starred, token: str) -> bool:
    """`before` and the last word, in its plural too, as one word; stars only at its two ends."""
    if last.open_end:
        return Starred(before + last.stem, last.open_start, True).matches(token)
    starts = range(len(token)) if last.open_start else [0]
    rests = [token[at + len(before) :] for at in starts if token.startswith(before, at)]
    return any(rest == last.stem or last.stem in singulars(rest) for rest in rests)


def words_of(phrase: str) -> tuple[str, ...]:
    return tuple(token.text for token in tokens_of(phrase))


@lru_cache(maxsize=None)
def category(name: str, lists: Path) -> list[str]:
    def lines(file: str) -> list[str]:
        stripped = (line.strip() for line in (lists / file).read_text(encoding="utf-8").splitlines())
        return [line for line in stripped if line and not line.startswith("#")]

    if name == "artists":
        common = lines("artists_common.txt")
        names = [line for line in lines("artists.txt") + lines("artists_more.txt") if line not in common]
        return names + lines("credits.txt") + [f"by {line}" for line in common]
    if name == "unsafe":
        listed, section = [], None
        for line in lines("unsafe.txt"):
            if line.startswith("["):
                section = line.strip("[]")
            elif section in ("sexual", "minors", "hate", "gore") and not line.startswith("="):
                listed.append(line)
        return listed
    if name not in LIST_OF_CATEGORY:
        raise ValueError(f"@{name}: no such category")
    return lines(LIST_OF_CATEGORY[name])


MARKS = "\u0300-\u036f"
"""Accents on their own are letters of words there and not in Python; the commonest."""

IN_PYTHON = {
    r"\b": r"(?a:\b)",
    r"\B": r"(?a:\B)",
    r"\z": r"\Z",
    r"\w": rf"[\w{MARKS}]",
    r"\W": rf"[^\w{MARKS}]",
    r"\s": r"(?:(?![\x1c-\x1f])\s)",
    r"\S": r"[\S\x1c-\x1f]",
}


@lru_cache(maxsize=None)
def python_regex(regex: str) -> str:
    """The same regex in Python's words: edges of ASCII words, `$` only at the very end."""
    if re.search(r"\\[pP]|\[\[:|&&|--|~~", regex):
        raise ValueError(f"/{regex}/: not in Python's syntax")
    translated, in_class, at = "", False, 0
    while at < len(regex):
        c = regex[at]
        if c == "\\":
            escape = regex[at : at + 2]
            hexadecimal = re.match(r"\\x\{([0-9a-fA-F]+)\}", regex[at:])
            if hexadecimal:
                translated += f"\\U{int(hexadecimal[1], 16):08x}"
                at += hexadecimal.end()
                continue
            if in_class:
                translated += escape + MARKS if escape == "\\w" else escape
            else:
                translated += IN_PYTHON.get(escape, escape)
            at += 2
            continue
        if in_class:
            in_class = c != "]"
        elif c == "[":
            in_class = True
            if regex[at + 1 : at + 2] in ("^", "]"):
                translated += c
                at += 1
                c = regex[at]
        elif c == "$":
            c = r"\Z"
        translated += c
        at += 1
    translated = re.sub(r"^\(\?([a-z]*-?[a-z]*)\)(.*)$", r"(?\1:\2)", translated, flags=re.DOTALL)
    translated = re.sub(r"\(\?<(?=[A-Za-z_])", "(?P<", translated)
    try:
        re.compile(translated, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"/{regex}/: {error}") from error
    return translated


def check(row: dict, lists: Path = LISTS) -> dict:
    """`banned`: indices of the bans that stand in the text, and where; `missing`: of musts that do not."""
    text, context = row["text"], row.get("context") or ""
    if not text.startswith(context):
        raise ValueError("the context is not a prefix of the text")
    bans = Bans()
    for index, entry in enumerate(row.get("bans", [])):
        bans.add(entry, index, lists)
    banned = bans.find(text, len(context))
    held = [token.text for token in tokens_of(text)]
    missing = []
    for index, must in enumerate(row.get("musts", [])):
        words = list(words_of(must))
        if not any(held[at : at + len(words)] == words for at in range(len(held) - len(words) + 1)):
            missing.append(index)
    return {"banned": dict(sorted(banned.items())), "missing": missing}


def numbered_lines(file: Path) -> list[tuple[int, str]]:
    """Lines end at line feeds alone: an answer may hold other separators unescaped."""
    lines = file.read_text(encoding="utf-8").split("\n")
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def self_test(cases: Path) -> int:
    """Known good and known bad answers, the same that the program's own tests read."""
    wrong, lines = 0, numbered_lines(cases)
    for number, line in lines:
        case = json.loads(line)
        found = check(case)
        if list(found["banned"]) != case.get("banned", []) or found["missing"] != case.get("missing", []):
            print(f"{cases.name}:{number}: found {found}: {line}")
            wrong += 1
    print(f"{len(lines)} cases, {wrong} wrong")
    return wrong


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--lists", type=Path, default=LISTS, help="folder of the category lists")
    parser.add_argument("--self-test", action="store_true", help="check the checker")
    arguments = parser.parse_args()
    if arguments.self_test:
        sys.exit(self_test(CASES) > 0)
    rows = with_bans = broken = missing = unchecked = 0
    for file in arguments.files:
        for number, line in numbered_lines(file):
            place = f"{file}:{number}"
            try:
                row = json.loads(line)
                found = check(row, arguments.lists)
            except (ValueError, KeyError) as error:
                unchecked += 1
                print(json.dumps({"place": place, "unchecked": str(error)}, ensure_ascii=False))
                continue
            rows += 1
            with_bans += bool(row.get("bans"))
            broken += bool(found["banned"])
            missing += bool(found["missing"])
            if found["banned"] or found["missing"]:
                named = {
                    "place": place,
                    "text": row["text"],
                    "banned": {row["bans"][index]: where for index, where in found["banned"].items()},
                    "missing": [row["musts"][index] for index in found["missing"]],
                }
                print(json.dumps(named, ensure_ascii=False))
    print(
        f"{rows} answers checked, {with_bans} of them with bans: {broken} hold a banned phrase, "
        f"{missing} lack a must; {unchecked} could not be checked"
    )
    sys.exit(broken + missing + unchecked > 0)


if __name__ == "__main__":
    main()
