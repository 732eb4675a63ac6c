//! A server that can be killed with all its connections, and started again on its address.

use std::net::SocketAddr;

use axum::Router;
use graphql_transport::testing::HeldPort;
use tokio::{net::TcpListener, runtime::Runtime};

/// A running server on a runtime of its own: when that ends, every connection breaks.
pub struct Server {
    port: HeldPort,
    app: Router,
    runtime: Option<Runtime>,
}

impl Server {
    pub fn start(app: Router) -> Self {
        let port = HeldPort::any();
        let listener = std::net::TcpListener::bind(port.address()).expect("it is held");
        let mut server = Self {
            port,
            app,
            runtime: None,
        };
        server.serve(listener);
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    pub fn url(&self) -> String {
        format!("http://{}/graphql", self.address())
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
            match std::net::TcpListener::bind(self.address()) {
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
