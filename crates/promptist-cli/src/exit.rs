//! Exit codes: 0 done; 1 bad data, files or config; 2 bad flags or combinations of flags; 130 and
//! 143 after SIGINT and SIGTERM.

use std::process::ExitCode;

use crate::signals;

/// A combination of flags that cannot be meant: exit code 2, as for flags that do not parse.
#[derive(Debug)]
pub struct UsageError(pub String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Prints what went wrong, once, and gives the exit code.
pub fn report(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if is_broken_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    if matches!(error.downcast_ref(), Some(promptist::Error::Interrupted)) {
        eprintln!("interrupted; what was saved stays");
        return ExitCode::from(signals::exit_code());
    }
    eprintln!("error: {}", message(&error));
    match error.downcast_ref::<UsageError>() {
        Some(_) => ExitCode::from(2),
        None => ExitCode::FAILURE,
    }
}

/// The chain of causes on one line. Some of the library's errors already say their cause, which is
/// not said twice.
fn message(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if message.is_empty() {
            message = cause;
        } else if !message.ends_with(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

/// Whether whoever read our output has gone away, as `| head` does: no error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
