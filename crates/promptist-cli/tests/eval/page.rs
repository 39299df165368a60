//! `report.html` needs no other file, and prints no mean without its interval and its n.

use promptist::eval::run::read;

use crate::world::everything;

#[test]
fn the_page_asks_for_nothing() {
    let html = everything().read("run/report.html");
    for attribute in ["src=\"", "href=\"", "url("] {
        for target in html.split(attribute).skip(1) {
            let target: String = target.chars().take(40).collect();
            assert!(target.starts_with("data:image/") || target.starts_with('#'), "{attribute}{target}");
        }
    }
    // Two inputs under four systems, and pictures of them.
    assert!(html.matches("<img ").count() >= 8, "{}", html.matches("<img ").count());
    assert!(!html.contains("NaN") && !html.contains("{{"));
}

#[test]
fn every_mean_of_the_report_stands_with_its_interval_and_its_n() {
    let findings = read(&everything().path("run")).expect("its own output");
    let html = everything().read("run/report.html");
    let cells: Vec<&str> = parts(&html, "<td class=\"number", "</td>").collect();
    let mut with_interval = 0;
    for cell in &cells {
        let (_, inside) = cell.split_once('>').expect("a tag");
        let text = plain(inside);
        let is_counts =
            text.split(" / ").count() == 3 && text.split(" / ").all(|n| n.parse::<usize>().is_ok());
        let is_p = inside.contains("before ") || inside.contains("not corrected") || text == "no test";
        let says_nothing = !text.chars().any(|c| c.is_ascii_digit()) || inside.contains("no values, n 0");
        if is_counts || is_p || says_nothing {
            continue;
        }
        assert!(inside.contains("class=\"range\"") && inside.contains("class=\"n\">n "), "{inside}");
        with_interval += 1;
    }
    // Each cell of the report that has a mean is in the table of all measures, so nothing passed by being absent.
    let means = findings.report.cells.iter().filter(|cell| cell.interval.is_some()).count();
    assert!(means > 100 && with_interval >= means, "{with_interval} of {means}");

    // Numbers in words: a mean is followed by its interval and its n; a count by what it is a count of.
    for line in parts(&html, "<li>", "</li>").filter(|line| line.contains(" by ") && line.contains(" to ")) {
        assert!(line.contains(", n "), "{line}");
    }
    assert!(html.contains("such a number has no interval"), "single rows are said to be single");
}

/// What stands between `start` and `end`, each time.
fn parts<'a>(html: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    html.split(start).skip(1).map(move |part| part.split_once(end).map_or(part, |(inside, _)| inside))
}

/// Text without its tags.
fn plain(html: &str) -> String {
    let mut is_text = true;
    html.chars()
        .filter(|c| {
            match c {
                '<' => is_text = false,
                '>' => {
                    is_text = true;
                    return false;
                }
                _ => {}
            }
            is_text
        })
        .collect()
}
