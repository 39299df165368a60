//! `promptist categories`: the named lists that bans know.

use std::io::Write;

use anyhow::Result;
use promptist::constraints::Category;

use crate::exit::UsageError;

#[derive(clap::Args)]
pub struct Args {
    /// Print the entries of this one instead.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub fn run(args: Args) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let Some(name) = args.name else {
        for category in Category::ALL {
            let (written, count) = (format!("@{category}"), category.entries().len());
            writeln!(out, "{written:18} {count:>5}  {}", category.description())?;
        }
        return Ok(());
    };
    let Some(category) = Category::from_name(name.trim_start_matches('@')) else {
        let reason = format!("no category `{name}`; `promptist categories` lists them");
        return Err(UsageError(reason).into());
    };
    for entry in category.entries() {
        writeln!(out, "{entry}")?;
    }
    Ok(())
}
