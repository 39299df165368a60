//! Each form, beside what people type that only looks like it.

use super::*;

fn syntax(text: &str) -> Syntax<'_> {
    let syntax = parse(text, &Protect::default());
    assert_eq!(syntax.to_string(), text);
    syntax
}

/// The spans, as `kind text` between bars.
#[track_caller]
fn check_spans(text: &str, expected: &[(SpanKind, &str)]) {
    let syntax = syntax(text);
    let found: Vec<(SpanKind, &str)> =
        syntax.spans().iter().map(|span| (span.kind, &text[span.range.clone()])).collect();
    assert_eq!(found, expected);
}

/// The protected pieces, and what a model sees.
#[track_caller]
fn check(text: &str, protected: &[&str], plain: &str) {
    let syntax = syntax(text);
    assert_eq!(syntax.protected(), protected, "pieces of {text:?}");
    assert_eq!(syntax.plain(), plain, "plain of {text:?}");
}

/// Nothing in `text` is syntax: a model sees it as it is.
#[track_caller]
fn check_words(text: &str, protected: &[&str]) {
    check(text, protected, text);
    assert!(!syntax(text).has_syntax());
}

#[test]
fn spans_are_as_fine_as_their_kinds() {
    use SpanKind::*;
    check_spans(
        "a (2 \"red\" hats:1.2), [a|b]",
        &[
            (Text, "a "),
            (Weight, "("),
            (Number, "2"),
            (Text, " "),
            (Quoted, "\"red\""),
            (Text, " hats"),
            (Weight, ":1.2)"),
            (Text, ", "),
            (Alternation, "["),
            (Text, "a"),
            (Alternation, "|"),
            (Text, "b"),
            (Alternation, "]"),
        ],
    );
    check_spans(
        "[a:[b|<x:y>]:3] {2$$0.5::c|d}",
        &[
            (Editing, "["),
            (Text, "a"),
            (Editing, ":"),
            (Alternation, "["),
            (Text, "b"),
            (Alternation, "|"),
            (Tag, "<x:y>"),
            (Alternation, "]"),
            (Editing, ":3]"),
            (Text, " "),
            (Dynamic, "{"),
            (Dynamic, "2$$"),
            (Dynamic, "0.5::"),
            (Text, "c"),
            (Dynamic, "|"),
            (Text, "d"),
            (Dynamic, "}"),
        ],
    );
    check_spans("", &[]);
}

#[test]
fn weights() {
    check("(masterpiece:1.2), best quality", &["(masterpiece:1.2)"], "masterpiece, best quality");
    check("a cat (sitting), 8k", &["(sitting)", "8k"], "a cat sitting, 8k");
    check("((a)) [[b]] {{c}}", &["((a))", "[[b]]", "{{c}}"], "a b c");
    check("(a: 1.2 ) (b:-1) (c:.5) (d:+1)", &["(a: 1.2 )", "(b:-1)", "(c:.5)", "(d:+1)"], "a b c d");
    check("(a, (b:1.1) c:1.2)", &["(a, (b:1.1) c:1.2)"], "a, b c");
    check(
        "(a:1.2:1.3) (1970:1.2) (1girl:1.2)",
        &["(a:1.2:1.3)", "(1970:1.2)", "(1girl:1.2)"],
        "a:1.2 1970 1girl",
    );
    check("(a:1,5) (b:)", &["(a:1,5)", "(b:)"], "a:1,5 b:");
    check("(16:9) (at 10:30)", &["(16:9)", "(at 10:30)"], "16:9 at 10:30");
    check("(un)happy (a)(b)", &["(un)", "(a)", "(b)"], "unhappy a b");
    check("(a\nb:1.2)", &["(a\nb:1.2)"], "a b");
}

#[test]
fn weights_of_invoke_and_midjourney() {
    check("(a cat)++ (a)- (b)1.2", &["(a cat)++", "(a)-", "(b)1.2"], "a cat a b");
    check("(picking (apricots)1.3)1.1", &["(picking (apricots)1.3)1.1"], "picking apricots");
    check("a tall+ man++, thin-- arms", &["tall+", "man++", "thin--"], "a tall man, thin arms");
    let blend = "(\"a cat\", \"a dog\").blend(1, 0.8)";
    check(blend, &[blend], "\"a cat\", \"a dog\"");
    check("hot:: dog::2 cat::-0.5", &["hot::", "dog::2", "cat::-0.5"], "hot dog cat");
    check("(red cat:1.2)::2, b", &["(red cat:1.2)::2"], "red cat, b");
    check("[a (b], c::2", &["[a (b]", "c::2"], "a (b, c");
    check_words("C++ code, 18+, Disney+, pre- and post-war, std::vector, a::b", &["18+"]);
    check_words("a)++, ()++ b", &[]);
    check("(c)2024, (red)-haired, (a).", &["(c)", "2024", "(red)", "(a)"], "c2024, red-haired, a.");
}

#[test]
fn tags_and_embeddings() {
    check("a cat, <lora:x:0.8>", &["<lora:x:0.8>"], "a cat");
    check("a <lora:A__B__c:1> cat", &["<lora:A__B__c:1>"], "a cat");
    check("a cat<lora:x:1>, <lyco:y:1>.", &["<lora:x:1>", "<lyco:y:1>"], "a cat.");
    let nested = "<setvar[color]:<random:red, blue>>";
    check(&format!("a {nested} hat"), &[nested], "a hat");
    check("<lora:(a [b):1> (c)", &["<lora:(a [b):1>", "(c)"], "c");
    check("<lora:broken (a), <lora:b:1>", &["(a)", "<lora:b:1>"], "<lora:broken a");
    check("<easynegative>, <break> a", &["<easynegative>", "<break>"], "a");
    check("embedding:bad, a", &["embedding:bad"], "a");
    check("embedding:bad:1.1, (embedding:b.pt:1.2)", &["embedding:bad:1.1", "(embedding:b.pt:1.2)"], "");
    check_words("I <3 you, a < b > c, <- and ->, <b>, x<y:z, embedding: none, 2 <", &["2"]);
}

#[test]
fn a_tag_is_a_tag_or_an_embedding() {
    let kinds = ["<lora:a:1>", "<embed:a>", "<name>", "<trigger>"].map(|tag| syntax(tag).spans()[0].kind);
    assert_eq!(kinds, [SpanKind::Tag, SpanKind::Embedding, SpanKind::Embedding, SpanKind::Tag]);
}

#[test]
fn prompt_editing_shows_what_comes_later() {
    check("a [cat:dog:0.5]", &["[cat:dog:0.5]"], "a dog");
    check("a [cat:0.5] [dog::10]", &["[cat:0.5]", "[dog::10]"], "a cat dog");
    check("[:cat:3] [cat:<lora:x:1>:3]", &["[:cat:3]", "[cat:<lora:x:1>:3]"], "cat cat");
    check("[a:[b:c:0.2]:0.5]", &["[a:[b:c:0.2]:0.5]"], "c");
    check("[room 5:b:.5] [cat 2:10]", &["[room 5:b:.5]", "[cat 2:10]"], "b cat 2");
    check("[a:b] [a:b:c]", &["[a:b]", "[a:b:c]"], "a:b a:b:c");
    check("[SEQ:a:0.1,0.5]", &["[SEQ:a:0.1,0.5]"], "a");
}

#[test]
fn alternation_and_dynamic_prompts_show_the_first_option() {
    check("a [red|blue] car", &["[red|blue]"], "a red car");
    check("[|a|b] [<lora:x:1>|c]", &["[|a|b]", "[<lora:x:1>|c]"], "a c");
    check("[a|b:0.5]", &["[a|b:0.5]"], "a");
    check("{red|blue} {|a}", &["{red|blue}", "{|a}"], "red a");
    check("{2$$a|b} {1-3$$ and $$a|b} {2$$__x__}", &["{2$$a|b}", "{1-3$$ and $$a|b}", "{2$$__x__}"], "a a x");
    check("{0.5::a|2::b} {a|0.3::b}", &["{0.5::a|2::b}", "{a|0.3::b}"], "a a");
    check("{a {b|c}|d}", &["{a {b|c}|d}"], "a b");
    check("${x=!{a|b}} a ${x} ${y:red}", &["${x=!{a|b}}", "${x}", "${y:red}"], "a x red");
    check_words("a | b, price $$ low, $5", &["5"]);
}

#[test]
fn keywords() {
    check("a BREAK b,BREAK,c", &["BREAK", "BREAK"], "a, b, c");
    check("a cat AND a dog", &["AND"], "a cat, a dog");
    check("a :1.2 AND b:0.5 AND c : 2", &[":1.2", "AND", ":0.5", "AND", ": 2"], "a, b, c");
    check("a :1 AND (b:2) <lora:x:1>", &[":1", "AND", "(b:2)", "<lora:x:1>"], "a, b");
    check("at 10:30 AND b", &["10:30", "AND"], "at 10:30, b");
    check_words("THE CAT AND THE DOG", &[]);
    check_words("DO NOT BREAK IT", &[]);
    check_words("LAND AND_ BREAKFAST and break, AND-gate", &[]);
}

#[test]
fn wildcards() {
    check("__animal/big_cats__ in snow", &["__animal/big_cats__"], "big cats in snow");
    check("__x/y*__ __x/*__", &["__x/y*__", "__x/*__"], "y x");
    check("__clothes(season=winter)__", &["__clothes(season=winter)__"], "clothes");
    check("__a____b__ __a__s __a__b__", &["__a__", "__b__", "__a__", "__a__b__"], "a b as a b");
    check("___a___ (__b__:1.2)", &["___a___", "(__b__:1.2)"], "a b");
    check_words("foo__bar__baz, a __ b __ c, __, ____, __a, b__", &[]);
}

#[test]
fn escapes() {
    check(r"spark \(pokemon go\)", &[r"\(pokemon go\)"], "spark (pokemon go)");
    check(r"(spark \(pokemon\):1.2)", &[r"(spark \(pokemon\):1.2)"], "spark (pokemon)");
    check(r":\) \[a\] \{b\} \\", &[r"\)", r"\[a\]", r"\{b\}", r"\\"], r":) [a] {b} \");
    check(r"\( a (b \) c)", &[r"\(", r"(b \) c)"], "( a b ) c");
    check(
        &format!(r"\( {} \)", "word ".repeat(60)),
        &[r"\(", r"\)"],
        &format!("( {} )", ["word"; 60].join(" ")),
    );
    check_words(r"a\b, C:\new", &[]);
}

#[test]
fn quotations() {
    check_words("a sign \"OPEN (late)\" and “closed”, „zu“", &["\"OPEN (late)\"", "“closed”", "„zu“"]);
    check_words("the 'quoted' word, ‘so’", &["'quoted'", "‘so’"]);
    check_words(
        "rock 'n' roll, cats' tails, don't, the '90s and cats' eyes, 'til dawn, 'twas ours'",
        &["90s"],
    );
    check_words("a 5\" screen, 6\" by 4\"", &["5", "6", "4"]);
    check_words("an open \" one\nand \"\" another\"", &[]);
    check("(\"a  b\", ‘c’:1.2)", &["(\"a  b\", ‘c’:1.2)"], "\"a  b\", ‘c’");
}

#[test]
fn numbers_with_their_units() {
    let numbers = "3 1girl 1970s 35mm 16:9 10:30 1,000 24-70mm 50% 8k f/1.8 1920x1080 3/4 2.35:1 90's .5 1920×1080 6+girls";
    check_words(numbers, &numbers.split(' ').collect::<Vec<_>>());
    check_words("R2D2, sd1.5, v2, score_9, 1,2,3, 4. :3 <3", &["1", "2", "3", "4"]);
    check_words("女3人", &["3"]);
}

#[test]
fn flags_with_their_values() {
    check("a cat --ar 16:9 --tile --s 250", &["--ar 16:9", "--tile", "--s 250"], "a cat");
    check("a --no people, cars --v 6.1", &["--no people, cars", "--v 6.1"], "a");
    check("a --no people, cars, <lora:x:1>", &["--no people, cars", "<lora:x:1>"], "a");
    check("a —ar 3:2", &["—ar 3:2"], "a");
    check("--seed=5 --prompt \"a b\" c", &["--seed=5", "--prompt \"a b\""], "c");
    check("(a --no b), c {--ar 1:1|--ar 2:3}", &["(a --no b)", "{--ar 1:1|--ar 2:3}"], "a, c");
    check("a --new thing, --new 5", &["--new", "--new 5"], "a thing");
    check("a --no b\nc", &["--no b"], "a c");
    check_words("a man -- sitting, cat--dog, - a -b, —the end", &[]);
}

#[test]
fn smileys_are_no_brackets() {
    check_words(":) :( ;-( =[ (: sad :(, :3 <3 ^_^", &[]);
    check("(happy :( and sad:1.2)", &["(happy :( and sad:1.2)"], "happy :( and sad");
    check("[:((a)):0.5] (:3) :(a)", &["[:((a)):0.5]", "(:3)", "(a)"], "a :3 :a");
}

#[test]
fn what_is_not_well_formed_is_text() {
    check_words("((a [b {c <lora:d ${e", &[]);
    check_words(") ] } > | : $$ :: \\", &[]);
    check_words("() [] {} ( ) [\n]", &[]);
    check("((a:1.2) b", &["(a:1.2)"], "(a b");
    check("(a [b) c]", &["(a [b)"], "a [b c]");
}

#[test]
fn the_users_own_regexes_come_first() {
    let protect =
        Protect::new(&[r"#\w+".to_owned(), r"red \(x".to_owned(), "x[)].*?!".to_owned()]).expect("regexes");
    let syntax = parse("a (#hash:1.2), red (x) y! <lora:#b:1> z", &protect);
    assert_eq!(syntax.protected(), ["(#hash:1.2)", "red (x) y!", "<lora:#b:1>"]);
    assert_eq!(syntax.plain(), "a, z");
    assert_eq!(syntax.spans()[2].kind, SpanKind::Custom);
}

#[test]
fn a_bad_regex_is_named() {
    let error = Protect::new(&["ok".to_owned(), "(bad".to_owned()]).expect_err("no regex");
    assert!(error.to_string().contains("(bad"), "{error}");
}

#[test]
fn additions_go_before_the_closing_run() {
    let closing = |text: &'static str| &text[syntax(text).closing()..];
    assert_eq!(closing("a cat, <lora:x:1>, <lyco:y:1> --ar 16:9 "), "<lora:x:1>, <lyco:y:1> --ar 16:9 ");
    assert_eq!(closing("<lora:x:1> a cat <lora:y:1>, "), "<lora:y:1>, ");
    assert_eq!(closing("<lora:x:1>"), "<lora:x:1>");
    assert_eq!(closing("a cat, a <random:red, blue> <lora:x:1>"), "<lora:x:1>");
    assert_eq!(closing("a <random:red, blue>"), "");
    assert_eq!(closing("(a <lora:x:1>)"), "");
    assert_eq!(closing("a cat, "), "");
    assert_eq!(closing(""), "");
}

#[test]
fn a_piece_that_is_gone_is_lost() {
    let syntax = syntax("3 cats, (red hat:1.2), 3 dogs, <lora:x:1>");
    assert_eq!(syntax.lost_in(syntax.source()), Vec::<&str>::new());
    assert_eq!(syntax.lost_in("3 cats, (red hat:1.2), 3 dogs, art, <lora:x:1>"), Vec::<&str>::new());
    assert_eq!(syntax.lost_in("<lora:x:1>, 3 and 3, (red hat:1.2)"), Vec::<&str>::new(), "the order is free");
    assert_eq!(syntax.lost_in("3 cats, red hat, 3 dogs, <lora:x:1.0>"), ["(red hat:1.2)", "<lora:x:1>"]);
    assert_eq!(syntax.lost_in("3 cats, (red hat:1.2), <lora:x:1>"), ["3"], "one 3 is not two");
    assert_eq!(syntax.lost_in("35mm, 13, (red hat:1.2), <lora:x:1>"), ["3", "3"], "a 3 is a word");
    assert_eq!(syntax.lost_in(""), syntax.protected());
}

#[test]
fn no_two_pieces_stand_in_one_place() {
    let syntax = syntax("2 hats, (2 cats:1.2)");
    assert_eq!(syntax.lost_in("(2 cats:1.2) hats"), ["2"]);
    assert_eq!(syntax.lost_in("(2 cats:1.2), 2 hats"), Vec::<&str>::new());
}

#[test]
fn depth_takes_no_stack_and_length_no_time() {
    let n = 200_000;
    for (open, close) in
        [("(", ")"), ("[a:", ":1]"), ("{a|", "}"), ("<a:", ">"), ("${", "}"), ("\\(", "\\)"), ("{2$$", "|b}")]
    {
        for text in [open.repeat(n), open.repeat(n) + &close.repeat(n), close.repeat(n)] {
            let syntax = syntax(&text);
            assert!(syntax.plain().len() <= text.len());
            assert!(syntax.lost_in(&text).is_empty());
        }
    }
    for part in [
        "\"a ", " 'a", " __a", " --no", " --ar {", "::", " AND :1", "a::1 ", "a::)", "1,000", "(a).and(",
        "「a",
    ] {
        let text = part.repeat(n);
        assert!(syntax(&text).closing() <= text.len());
    }
}
