//! A server that can be killed with all its connections, and started again on its address.

use std::net::SocketAddr;

use axum::Router;
use tokio::{net::TcpListener, runtime::Runtime};

/// A running server on a runtime of its own: when that ends, every connection breaks.
pub struct Server {
    address: SocketAddr,
    app: Router,
    runtime: Option<Runtime>,
}

impl Server {
    pub fn start(app: Router) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mut server = Self {
            address,
            app,
            runtime: None,
        };
        server.serve(listener);
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}/graphql", self.address)
    }

    /// As a `kill -9` would.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub async fn restart(&mut self) {
        self.kill();
        // The killed listener's socket is closed by its runtime's threads, a moment later.
        let listener = loop {
            match std::net::TcpListener::bind(self.address) {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        };
        self.serve(listener);
    }

    fn serve(&mut self, listener: std::net::TcpListener) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        listener.set_nonblocking(true).expect("a socket");
        let app = self.app.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, app)
                .await
                .expect("serving does not fail");
        });
        self.runtime = Some(runtime);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
