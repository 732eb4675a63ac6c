//! The port of a data folder's last run, which the replica set's configuration in it names.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use mongodb::bson::{Document, doc};

use crate::Error;
use crate::error::while_doing;
use crate::node::{Node, NodeOptions, Role};

/// The port that [`remember`] noted in this folder.
pub(crate) fn recall(folder: &Path) -> Option<u16> {
    std::fs::read_to_string(folder.join("port"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Notes the port in the folder.
pub(crate) fn remember(folder: &Path, port: u16) -> Result<(), Error> {
    std::fs::write(folder.join("port"), port.to_string())
        .map_err(while_doing("noting mongod's port"))
}

/// Whether nobody listens on the port just now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Writes a free port into the replica set's configuration and returns it.
///
/// It is done by a mongod that runs by itself: a member that does not find itself in its own
/// configuration first spends its time on asking whoever has its old port now.
pub(crate) async fn change(options: &NodeOptions) -> Result<u16, Error> {
    let options = NodeOptions {
        role: Role::Standalone,
        ..options.clone()
    };
    let mut node = Node::start(options).await?;
    let configurations = node
        .client()
        .database("local")
        .collection::<Document>("system.replset");
    configurations
        .update_many(doc! {}, doc! { "$set": { "members.0.host": node.host() } })
        .await?;
    node.stop();
    Ok(node.port())
}
