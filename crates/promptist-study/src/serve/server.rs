//! Connections: accepted, served, and ended in order.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;

use crate::serve::{App, router};
use crate::study::Study;

/// Bytes of a request's head and of what is read ahead.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Connections that are open at once; others wait.
const MAX_CONNECTIONS: usize = 1024;
/// How long a connection may take to send the head of its next request, idle time included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long requests may take to their end once the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// The wait after a connection could not be accepted: the process has no file handle left, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A study's server with an address, not serving yet.
#[derive(Debug)]
pub struct StudyServer {
    listener: TcpListener,
}

impl StudyServer {
    /// Takes an address; port 0 is any that is free.
    ///
    /// # Errors
    /// What the system says, as when the port is taken.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// The address.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`, then until what is under way is answered.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time.
    pub async fn run(self, study: Study, stop: impl Future<Output = ()>) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let app = Arc::new(App::new(study));
        let (routes, graceful) = (router(Arc::clone(&app)), GracefulShutdown::new());
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut stop = pin!(stop);
        loop {
            let accepted = async {
                let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((listener.accept().await?.0, slot))
            };
            let (stream, slot) = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = accepted => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let _ = stream.set_nodelay(true);
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes.clone()));
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                // Browsers break off: their business.
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended early");
                }
                drop(slot);
            });
        }
        drop(listener);
        if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
            tracing::warn!("some browsers did not take their answers in time");
        }
        app.store.close().await;
        Ok(())
    }
}
