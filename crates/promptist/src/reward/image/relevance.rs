//! Relevance: how far the images of an adapted prompt stay on what the user asked for.

/// Cosine from which up an image counts as on the subject: `20 · 0.28 − 5.6 = 0`.
pub const KNEE: f32 = 0.28;

/// `min(20 · max(cosine, 0) − 5.6, 0)`, of one image.
///
/// In `[-5.6, 0]`: straying costs, and pleasing more than enough earns nothing.
///
/// # Source
/// Hao et al. 2023, section 2.2; `get_score_batched` in the released `ppo_prompter.py`. The floor at a
/// cosine of 0 is the code's.
pub fn relevance(cosine: f32) -> f32 {
    if cosine > KNEE { 0.0 } else { (20.0 * cosine.max(0.0) - 5.6).min(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_a_slope_and_a_knee() {
        // From the released formula, `20 * c - 5.6 if c <= 0.28 else 0` of `c = max(cosine, 0)`, in f64.
        for (cosine, expected) in [
            (-1.0, -5.6),
            (-0.01, -5.6),
            (0.0, -5.6),
            (0.1, -3.6),
            (0.25, -0.6),
            (0.279, -0.02),
            (0.28, 0.0),
            (0.281, 0.0),
            (1.0, 0.0),
        ] {
            let found = relevance(cosine);
            assert!((found - expected).abs() < 1e-5, "{cosine}: {found}");
            assert!((-5.6..=0.0).contains(&found), "{cosine}: {found}");
        }
    }
}
