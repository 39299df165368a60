//! SIGINT and SIGTERM: the first asks long work to finish its step and save; a second ends the
//! process at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// How soon a signal is noticed by who waits for one.
const POLL: Duration = Duration::from_millis(50);

static RECEIVED: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Starts listening; the flag is set by the first signal.
pub fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let received = RECEIVED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        // The order matters: a second signal finds the flag set and ends the process, and whoever
        // finds it set finds the signal's number.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))
            .and_then(|_| flag::register_usize(signal, Arc::clone(received), signal as usize))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .context("listening for signals")?;
    }
    Ok(stop)
}

/// Until a signal set the flag. Asked again and again, as on every system there is.
pub async fn raised(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(POLL).await;
    }
}

/// 128 plus the number of the signal that came.
pub fn exit_code() -> u8 {
    let signal = RECEIVED.get().map_or(SIGINT as usize, |received| received.load(Ordering::Relaxed));
    128 + signal as u8
}
