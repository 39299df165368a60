//! A study's server, from its address to its end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use promptist_http::{ConnectionLimits, Connections, Listener};

use crate::serve::{App, router};
use crate::study::Study;

/// Browsers that ask at once are few, and their requests small.
const LIMITS: ConnectionLimits = ConnectionLimits {
    max_connections: 1024,
    max_head_bytes: 16 << 10,
    head_timeout: Duration::from_secs(60),
    grace: Duration::from_secs(10),
};

/// Serves a study until `stop`, then until what is under way is answered.
///
/// # Errors
/// What the system says.
///
/// # Panics
/// Outside a tokio runtime with I/O and time.
pub async fn serve(study: Study, listener: Listener, stop: impl Future<Output = ()>) -> io::Result<()> {
    let app = Arc::new(App::new(study));
    let connections = Connections { routes: router(Arc::clone(&app)), limits: LIMITS };
    connections.serve(listener, || (), stop).await?;
    app.store.close().await;
    Ok(())
}
