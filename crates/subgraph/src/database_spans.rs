//! Spans of the commands that requests send to MongoDB, by the semantic conventions for databases.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bson::Bson;
use mongodb::error::ErrorKind;
use mongodb::event::EventHandler;
use mongodb::event::command::{CommandEvent, CommandStartedEvent};
use mongodb::options::ServerAddress;
use traces::{Kind, Span};

/// Commands of one client that have a span at the same time. Further ones have none.
const RUNNING_MAX: usize = 1_024;

/// What a driver's client tells of its commands. Those that no recorded span works for have no span: the driver calls this
/// in the task that waits for the command.
pub(crate) fn handler() -> EventHandler<CommandEvent> {
    let running = Running::default();
    EventHandler::callback(move |event| match event {
        CommandEvent::Started(event) => running.begins(&event),
        CommandEvent::Succeeded(event) => drop(running.ended(event.request_id)),
        CommandEvent::Failed(event) => {
            if let Some(mut span) = running.ended(event.request_id) {
                // Not the driver's text: it may have parts of documents.
                span.fail(&kind_of(&event.failure), "");
            }
        }
        _ => {}
    })
}

/// The spans of commands that run, by the driver's number of the command.
#[derive(Default)]
struct Running(Mutex<HashMap<i32, Span>>);

impl Running {
    fn begins(&self, event: &CommandStartedEvent) {
        let Some(parent) = traces::current_parent() else {
            return;
        };
        let command = event.command_name.as_str();
        let mut span = parent.child("MongoDB command", Kind::Client);
        span.set("db.system.name", "mongodb");
        span.set("db.namespace", &event.db);
        span.set("db.operation.name", command);
        let named = match command {
            "getMore" => event.command.get("collection"),
            _ => event.command.get(command),
        };
        let collection = named.and_then(Bson::as_str);
        if let Some(collection) = collection {
            span.set("db.collection.name", collection);
        }
        if let ServerAddress::Tcp { host, port } = &event.connection.address {
            span.set("server.address", host);
            span.set("server.port", port.unwrap_or(27_017));
        }
        span.rename(|| match collection {
            Some(collection) => format!("{command} {collection}"),
            None => command.to_owned(),
        });
        let mut running = self.lock();
        if running.len() < RUNNING_MAX {
            running.insert(event.request_id, span);
        }
    }

    fn ended(&self, request_id: i32) -> Option<Span> {
        self.lock().remove(&request_id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kind_of(error: &mongodb::error::Error) -> String {
    match &*error.kind {
        ErrorKind::Command(error) => error.code_name.clone(),
        ErrorKind::Io(_) => "io".to_owned(),
        ErrorKind::Write(_) | ErrorKind::InsertMany(_) | ErrorKind::BulkWrite(_) => {
            "write".to_owned()
        }
        _ => "other".to_owned(),
    }
}
