//! What a running subscription sends its client.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::{
    delivery::Status,
    response::{GraphqlResponse, ResponseKind},
};

/// A running subscription, as its client sees it.
pub type EventStream = BoxStream<'static, Event>;

/// One step of a subscription. The end of the stream says that the subscription is complete.
#[derive(Clone, Debug)]
pub enum Event {
    /// A whole GraphQL response.
    Next {
        /// Its JSON text, the same bytes for every client that shares the subscription.
        body: Bytes,
        /// Where to resume from to see what came after it, if the field can.
        cursor: Option<Arc<str>>,
    },
    /// Whether changes reach the server, for a client that asked for this. It is charged to nobody.
    Status(Status),
    /// The subscription ends here, with errors.
    Failed {
        /// The JSON text `{"errors":[...]}`.
        body: Bytes,
    },
}

impl Event {
    /// The end, with an error.
    pub fn failed(error: impl Into<GraphqlResponse>) -> Self {
        Self::Failed {
            body: error.into().body,
        }
    }

    /// Whether it counts as a delivery, as all but statuses do.
    pub(crate) fn is_delivery(&self) -> bool {
        !matches!(self, Self::Status(_))
    }
}

/// A single answer as the only event of a stream.
impl From<GraphqlResponse> for Event {
    fn from(response: GraphqlResponse) -> Self {
        match response.kind {
            ResponseKind::Executed => Self::Next {
                body: response.body,
                cursor: None,
            },
            ResponseKind::RequestError => Self::Failed {
                body: response.body,
            },
        }
    }
}
