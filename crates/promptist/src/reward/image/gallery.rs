//! A page to look at: each input and its rewrite, their images side by side with their numbers. One file,
//! nothing loaded from elsewhere.

use std::fmt::Write as _;

use image::RgbImage;

use super::{ImageReward, PairScore, Summary, picture};
use crate::error::Result;
use crate::html::escape;
use crate::reward::Pair;

/// The page, with places for what is filled in.
const PAGE: &str = include_str!("gallery.html");

/// The page of a run: `scores` are those of `pairs`. Images are those that the cache holds.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if an image cannot be encoded.
pub fn page(
    reward: &ImageReward,
    pairs: &[Pair],
    scores: &[Result<PairScore, String>],
    summary: &Summary,
) -> Result<String> {
    let mut articles = String::new();
    for (place, (pair, score)) in pairs.iter().zip(scores).enumerate() {
        let images = ImageReward::prompts_of(pair).map(|prompt| reward.cached_images(prompt));
        articles += &article(place, pair, score, &images)?;
    }
    let count = if pairs.len() == 1 { "1 pair".to_owned() } else { format!("{} pairs", pairs.len()) };
    // What people typed comes last, and is not searched for places again.
    Ok(PAGE
        .replace("{{pairs}}", &count)
        .replace("{{summary}}", &numbers_of(scores, summary))
        .replace("{{about}}", &escape(&about(reward)))
        .replacen("{{articles}}", &articles, 1))
}

fn about(reward: &ImageReward) -> String {
    let (identity, settings) = (reward.generator().identity(), reward.image_settings());
    let scheduler = settings.scheduler.as_deref().unwrap_or("the generator's own sampler");
    let pairing = if identity.takes_seeds {
        "the same noise for both prompts"
    } else {
        "no seeds: images are not paired"
    };
    format!(
        "{}: {}x{}, {} steps, guidance {}, {scheduler}; {pairing}. \
         Reward: mean over images of A(y) − mean A(x) + min(20 · max(cos(x, y), 0) − 5.6, 0).",
        identity.name, settings.width, settings.height, settings.num_inference_steps, settings.guidance_scale
    )
}

fn numbers_of(scores: &[Result<PairScore, String>], summary: &Summary) -> String {
    let scored: Vec<&PairScore> = scores.iter().filter_map(|score| score.as_ref().ok()).collect();
    let mean = |value: fn(&PairScore) -> f32| -> Option<f64> {
        let sum: f64 = scored.iter().map(|score| f64::from(value(score))).sum();
        (!scored.is_empty()).then(|| sum / scored.len() as f64)
    };
    let mut html = String::new();
    let mut number = |name: &str, value: Option<f64>, more: String| {
        let value = value.map_or("—".to_owned(), |value| format!("{value:+.3}"));
        let _ = write!(html, "<div><dt>{name}</dt><dd>{value} <small>{more}</small></dd></div>");
    };
    let error = summary.standard_error.map_or(String::new(), |error| format!("± {error:.3}"));
    number("mean reward", summary.mean_score, error);
    number("aesthetic gain", mean(|score| score.score.aesthetic_gain), String::new());
    number("relevance", mean(|score| score.score.relevance), String::new());
    let _ = write!(html, "<div><dt>scored</dt><dd>{}</dd></div>", summary.scored);
    if summary.failed > 0 {
        let _ = write!(html, "<div><dt>failed</dt><dd class=\"failed\">{}</dd></div>", summary.failed);
    }
    html
}

fn article(
    place: usize,
    pair: &Pair,
    score: &Result<PairScore, String>,
    [of_x, of_y]: &[Vec<Option<RgbImage>>; 2],
) -> Result<String> {
    let sort_key = score.as_ref().map_or(String::new(), |score| score.score.score.to_string());
    let mut html = format!("<article data-place=\"{place}\" data-score=\"{sort_key}\">\n");
    let _ = writeln!(html, "<h2>{}</h2>\n<p>{}</p>", escape(pair.user_input.trim()), adapted(pair));
    match score {
        Err(reason) => {
            let _ = writeln!(html, "<p class=\"failed\">no score: {}</p>", escape(reason));
        }
        Ok(score) => html += &score_line(score),
    }
    html += "<div class=\"seeds\">\n";
    for (j, images) in of_x.iter().zip(of_y).enumerate() {
        let score = score.as_ref().ok();
        let seed = score.and_then(|score| Some(format!(", seed {}", score.seeds.as_ref()?[j])));
        let seed = seed.unwrap_or_default();
        let of_x = score.map_or(String::new(), |s| format!(", aesthetic {:.2}", s.aesthetic_baseline[j]));
        let of_y = score.map_or(String::new(), |s| {
            format!(", aesthetic {:.2}, cosine {:.3}", s.aesthetic[j], s.clip_cosine[j])
        });
        let _ = writeln!(
            html,
            "<div class=\"seed\">{}{}</div>",
            figure(images.0.as_ref(), "input", &format!("{seed}{of_x}"))?,
            figure(images.1.as_ref(), "adapted", &of_y)?
        );
    }
    Ok(html + "</div>\n</article>\n")
}

/// The adapted prompt, what was added to the user's words marked.
fn adapted(pair: &Pair) -> String {
    let adapted = pair.adapted_prompt.trim();
    match adapted.strip_prefix(pair.user_input.trim()) {
        _ if adapted.is_empty() => "<em>empty: the input was drawn</em>".to_owned(),
        Some("") => "<em>unchanged</em>".to_owned(),
        Some(added) => format!("{}<mark>{}</mark>", escape(pair.user_input.trim()), escape(added)),
        None => format!("<mark>{}</mark>", escape(adapted)),
    }
}

fn score_line(score: &PairScore) -> String {
    let class = if score.score.score >= 0.0 { "good" } else { "bad" };
    let error = score.score.standard_error.map_or(String::new(), |error| format!(" ± {error:.3}"));
    let mut html = format!(
        "<div class=\"numbers\"><b class=\"{class}\">reward {:+.3}{error}</b><span>aesthetic gain {:+.3}</span>\
         <span>relevance {:.3}</span>",
        score.score.score, score.score.aesthetic_gain, score.score.relevance
    );
    if let (Some(of_y), Some(of_x)) = (&score.pick_score, &score.pick_score_baseline) {
        let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len().max(1) as f32;
        let _ = write!(html, "<span>PickScore {:.2}, input {:.2}</span>", mean(of_y), mean(of_x));
    }
    html + "</div>\n"
}

fn figure(image: Option<&RgbImage>, what: &str, numbers: &str) -> Result<String> {
    let picture = match image {
        None => picture::gone(),
        Some(image) => picture::tag(image, what)?,
    };
    Ok(format!("<figure>{picture}<figcaption>{what}{numbers}</figcaption></figure>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_are_marked_and_markup_is_text() {
        let pair = |x: &str, y: &str| Pair { user_input: x.to_owned(), adapted_prompt: y.to_owned() };
        assert_eq!(adapted(&pair("a cat", "a cat, 8k <b>")), "a cat<mark>, 8k &lt;b&gt;</mark>");
        assert_eq!(adapted(&pair("a cat", "cats")), "<mark>cats</mark>");
        assert_eq!(adapted(&pair("a cat", "a cat ")), "<em>unchanged</em>");
        assert_eq!(adapted(&pair("a cat", " ")), "<em>empty: the input was drawn</em>");
    }
}
