//! The subgraphs and the supergraph that all gateways of a contest serve.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use bench_servers::subgraphs;
use tempfile::TempDir;

use crate::process::{Process, free_port};
use crate::services::Services;

/// Running subgraphs; they end when this is dropped.
pub struct Field {
    supergraph: PathBuf,
    urls: Vec<(String, String)>,
    _folder: TempDir,
    _subgraphs: Subgraphs,
}

enum Subgraphs {
    General { _process: Process },
    Ours { _services: Box<Services> },
}

impl Field {
    /// The benchmark's own four subgraphs.
    ///
    /// # Errors
    /// When they do not start.
    pub async fn general() -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut process = Process::start(
            "the benchmark's subgraphs",
            Command::new(std::env::current_exe()?).args([
                "subgraphs",
                "--port",
                &address.port().to_string(),
            ]),
        )?;
        process.listening(address).await?;
        let subgraphs = subgraphs::sdl()
            .into_iter()
            .map(|(name, sdl)| schema::Subgraph {
                name: name.to_owned(),
                url: subgraphs::url(address, name),
                sdl,
            })
            .collect();
        Self::of(subgraphs, Subgraphs::General { _process: process })
    }

    /// The posts and comments subgraphs on a real MongoDB, with sample data.
    ///
    /// # Errors
    /// When they do not start, or the data cannot be written.
    pub async fn ours() -> anyhow::Result<Self> {
        let services = Services::start().await?;
        services.seed().await?;
        let mut subgraphs = schema::subgraphs();
        for subgraph in &mut subgraphs {
            subgraph.url = match subgraph.name.as_str() {
                "posts" => services.posts.url("/graphql"),
                _ => services.comments.url("/graphql"),
            };
        }
        let services = Subgraphs::Ours {
            _services: Box::new(services),
        };
        Self::of(subgraphs, services)
    }

    fn of(subgraphs: Vec<schema::Subgraph>, running: Subgraphs) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let supergraph = folder.path().join("supergraph.graphql");
        std::fs::write(&supergraph, schema::compose::compose(&subgraphs)?)?;
        Ok(Self {
            supergraph,
            urls: subgraphs.into_iter().map(|it| (it.name, it.url)).collect(),
            _folder: folder,
            _subgraphs: running,
        })
    }

    /// The file that names the subgraphs.
    pub fn supergraph(&self) -> &Path {
        &self.supergraph
    }

    /// Where a subgraph is; empty for none of that name.
    pub fn subgraph_url(&self, name: &str) -> &str {
        let found = self.urls.iter().find(|(other, _)| other == name);
        found.map_or("", |(_, url)| url)
    }
}
