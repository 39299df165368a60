//! Connections: accepted, served, and ended in order.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The wait after a connection could not be accepted: the process has no file handle left, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An address that is taken, not served yet.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Takes an address; port 0 is any that is free.
    ///
    /// # Errors
    /// What the system says, as when the port is taken.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// The address.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections that are open at once; others wait.
    pub max_connections: usize,
    /// Bytes of a request's head and of what is read ahead.
    pub max_head_bytes: usize,
    /// How long a connection may take to send the head of its next request, idle time included.
    pub head_timeout: Duration,
    /// How long connections may take to their end once nothing is accepted any more.
    pub grace: Duration,
}

/// What connections are served with.
#[derive(Debug)]
pub struct Connections {
    /// Who answers.
    pub routes: Router,
    /// How long, and how many.
    pub limits: ConnectionLimits,
}

impl Connections {
    /// Accepts connections until `stop`, then lets those that are open take their answers, closes idle ones, and
    /// returns, within [`ConnectionLimits::grace`]. `opened` is called for each connection; what it returns is
    /// dropped when the connection ends.
    ///
    /// # Errors
    /// What the system says of the address.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time.
    pub async fn serve<G: Send + 'static>(
        self,
        listener: Listener,
        opened: impl Fn() -> G,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener.0)?;
        let (graceful, slots) =
            (GracefulShutdown::new(), Arc::new(Semaphore::new(self.limits.max_connections)));
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = accept(&listener, &slots) => match accepted {
                    Ok((stream, slot)) => self.spawn(stream, &graceful, (slot, opened())),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        if tokio::time::timeout(self.limits.grace, graceful.shutdown()).await.is_err() {
            tracing::warn!("some clients did not take their answers in time");
        }
        Ok(())
    }

    /// Serves a connection until its end, and holds `held` until then.
    fn spawn(&self, stream: TcpStream, graceful: &GracefulShutdown, held: impl Send + 'static) {
        // Answers are small and whole: nothing to wait for.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            .max_buf_size(self.limits.max_head_bytes)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.routes.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // Clients break off and send what is no HTTP: their business.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(held);
        });
    }
}

/// Waits for a slot, then for a connection.
async fn accept(
    listener: &tokio::net::TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?.0, slot))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    /// Counts what is open.
    struct Open(Arc<AtomicUsize>);

    impl Drop for Open {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    async fn answer(stream: &mut TcpStream) -> String {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("text");
        answer
    }

    #[tokio::test]
    async fn connections_over_the_limit_wait_and_all_are_answered() {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let limits = ConnectionLimits {
            max_connections: 1,
            max_head_bytes: 16 << 10,
            head_timeout: Duration::from_secs(60),
            grace: Duration::from_secs(10),
        };
        let connections = Connections { routes: Router::new().route("/", get(|| async { "here" })), limits };
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let opened = {
            let (open, most) = (Arc::clone(&open), Arc::clone(&most));
            move || {
                most.fetch_max(1 + open.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                Open(Arc::clone(&open))
            }
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(connections.serve(listener, opened, async {
            let _ = stopped.await;
        }));

        let mut first = TcpStream::connect(address).await.expect("listening");
        let mut second = TcpStream::connect(address).await.expect("the system accepts it");
        second.write_all(REQUEST).await.expect("sent");
        // The first has the only slot, and has said nothing yet: the second is not answered before it.
        first.write_all(REQUEST).await.expect("sent");
        assert!(answer(&mut first).await.ends_with("here"));
        assert!(answer(&mut second).await.ends_with("here"));

        // One that is idle does not hold up the end.
        let idle = TcpStream::connect(address).await.expect("listening");
        stop.send(()).expect("it waits for it");
        tokio::time::timeout(Duration::from_secs(5), server)
            .await
            .expect("in time")
            .expect("no panic")
            .expect("ends");
        drop(idle);
        assert_eq!((open.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (0, 1));
    }
}
