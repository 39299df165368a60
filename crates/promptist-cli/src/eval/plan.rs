//! `promptist eval --dry-run`: what would be done.

use std::io::Write;

use anyhow::Result;
use promptist::eval::config::{EvalConfig, SystemKind};
use promptist::eval::images::EvalImages;
use promptist::eval::inputs;
use promptist::eval::systems::System;

/// Prints inputs, rewrites and images by set; nothing is adapted, so only the images of inputs are known.
pub fn print(config: &EvalConfig, systems: &[System], images: Option<&EvalImages>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let (mut rewrites, mut at_most, mut known_missing) = (0, 0, 0);
    for set in &config.sets {
        let inputs = inputs::read(&set.path, set.limit)?;
        let human = inputs.iter().filter(|input| input.human_prompt.is_some()).count();
        writeln!(out, "{}: {} inputs, {human} with a human prompt", set.name, inputs.len())?;
        for kind in inputs::source_kinds(&inputs) {
            let n = inputs.iter().filter(|input| input.source_kind.as_deref() == Some(kind)).count();
            writeln!(out, "  {kind}: {n}")?;
        }
        for system in systems {
            let n = match system.kind() {
                SystemKind::Human => human,
                _ => inputs.len() * system.num_rewrites(),
            };
            rewrites += n;
            // The user's text as it is has the images that every system is held against.
            let drawn_anew = !matches!(system.kind(), SystemKind::Input);
            at_most += if drawn_anew { n } else { 0 };
        }
        if let Some(images) = images {
            known_missing += images.missing(inputs.iter().map(|input| input.user_input.as_str()));
        }
    }
    writeln!(out, "{rewrites} rewrites by {} systems", systems.len())?;
    if let Some(images) = images {
        let each = images.images_per_prompt();
        writeln!(
            out,
            "images: {known_missing} of inputs are to be made, and at most {} of rewrites ({each} each)",
            at_most * each
        )?;
    }
    Ok(())
}
