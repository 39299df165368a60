//! The library in its smallest form: a prompter, an input, adapted prompts.
//!
//! ```sh
//! cargo run --release --example adapt -- "a lighthouse at dusk"
//! ```

#![allow(clippy::print_stdout)]

use promptist::mini;
use promptist::model_source::ModelFiles;
use promptist::prompter::{AdaptRequest, Backend, Prompter};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let user_input = std::env::args().nth(1).unwrap_or_else(|| "a cat".to_owned());
    let mini = mini::embedded().ok_or("built without the feature `embedded-model`")?;
    let prompter = Prompter::open(&ModelFiles::Embedded(mini), &Backend::default())?;

    let request = AdaptRequest { filter: true, ..AdaptRequest::default() };
    let settings = prompter.settings(&request)?;
    for adapted in prompter.adapt(&[user_input], &settings, 0) {
        for output in adapted?.outputs {
            println!("{}", output.text);
        }
    }
    Ok(())
}
