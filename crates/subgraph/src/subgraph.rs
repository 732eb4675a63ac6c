//! A subgraph from its settings to its end: the parts that every subgraph has.

use async_graphql::{ObjectType, Schema, SubscriptionType};
use axum::Router;
use futures_util::future::BoxFuture;
use mongodb::{Client, Database};
use service::{Health, Lifecycle, Metrics};
use tokio::net::TcpListener;
use traces::Tracer;

use crate::database::DatabaseSettings;
use crate::database_calls::CallMetrics;
use crate::endpoint::AnySchema;
use crate::error::CodedError;
use crate::{
    AccessSettings, CallGate, DatabaseCalls, FieldCosts, LimitSettings, Limits, TypeNames,
    database_clock, endpoint,
};

/// The settings that all subgraphs share.
#[derive(Clone, Debug, clap::Args)]
pub struct SubgraphSettings {
    /// Look at the database, print what is not as the service needs it and what to do, and exit: with 1 if something
    /// does not work. Changes nothing; the service may run meanwhile.
    #[arg(long)]
    pub doctor: bool,
    /// MongoDB, and how many calls of requests it gets.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// The limits of one request.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// Whose requests are answered.
    #[command(flatten)]
    pub access: AccessSettings,
    /// Address, logs, shutdown and connections, as of every binary.
    #[command(flatten)]
    pub service: service::Settings,
}

/// A subgraph that starts: its own parts register here, then [`Subgraph::serve`] serves its schema.
pub struct Subgraph {
    name: &'static str,
    settings: SubgraphSettings,
    /// The database, for the subgraph's own work. Requests use [`Subgraph::request_calls`].
    pub database: Database,
    /// The checks of `/health/ready`. MongoDB's is among them.
    pub health: Health,
    /// The metrics of `/metrics`.
    pub metrics: Metrics,
    /// The process: its background tasks and its end.
    pub lifecycle: Lifecycle,
    /// Makes the spans of its traces.
    pub tracer: Tracer,
}

impl Subgraph {
    /// Connects to MongoDB. `name` is the program's.
    ///
    /// # Errors
    /// When the connection string is malformed, no server answers, or it has no change streams.
    pub async fn connect(
        name: &'static str,
        mut settings: SubgraphSettings,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<Self> {
        let metrics = Metrics::new(name);
        let tracer = service::start_traces(&settings.service, name, &metrics, &lifecycle)?;
        settings.database.is_traced = tracer.is_on();
        let database = settings.database.connect(name).await?;
        let health = Health::default();
        settings.database.register_readiness(name, &health).await?;
        database_clock::follow(&database, &lifecycle, &metrics).await;
        Ok(Self {
            name,
            settings,
            database,
            health,
            metrics,
            lifecycle,
            tracer,
        })
    }

    /// A client for change streams alone.
    ///
    /// # Errors
    /// When the connection string is malformed.
    pub async fn stream_client(&self) -> anyhow::Result<Client> {
        self.settings.database.stream_client(self.name).await
    }

    /// The database for requests of clients, with the queue before it.
    ///
    /// # Errors
    /// When the connection string is malformed.
    pub async fn request_calls(&self) -> anyhow::Result<DatabaseCalls<Database>> {
        let metrics = CallMetrics::register(&self.metrics);
        self.settings.database.requests(self.name, metrics).await
    }

    /// Serves a schema whose resolvers fail with `E` until shutdown. `costs` are those of its fields, `gate`
    /// is the queue of [`Subgraph::request_calls`].
    ///
    /// # Errors
    /// When the port for operators is taken, or a background task dies.
    pub fn serve<E, Q, M, S>(
        self,
        listener: TcpListener,
        schema: Schema<Q, M, S>,
        costs: FieldCosts,
        gate: &CallGate,
    ) -> BoxFuture<'static, anyhow::Result<()>>
    where
        E: CodedError,
        Q: ObjectType + 'static,
        M: ObjectType + 'static,
        S: SubscriptionType + 'static,
    {
        let limits = Limits {
            settings: self.settings.limits.clone(),
            fields: costs,
            types: TypeNames::of(&schema),
        };
        self.serve_any(listener, AnySchema::new::<E>(schema), limits, gate.clone())
    }

    /// Boxed, because an `async fn` is compiled in the crate that awaits it: so the transports are compiled once,
    /// in this crate, and not in each subgraph.
    fn serve_any(
        self,
        listener: TcpListener,
        schema: AnySchema,
        limits: Limits,
        gate: CallGate,
    ) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(async move {
            let Self {
                name,
                settings,
                health,
                metrics,
                lifecycle,
                tracer,
                ..
            } = self;
            let service = &settings.service;
            let operations =
                service::operations_routes(service, &health, &metrics, Router::new(), &lifecycle)
                    .await?;
            let access = settings.access.clone().or_named(name);
            access.warn_if_nobody_writes();
            let endpoint =
                endpoint::endpoint(schema, gate, limits, &access, &metrics, &lifecycle, service)?;
            let make = service::traced(&tracer, endpoint::responders(&endpoint, operations));
            let limits = service.serve_limits();
            service::serve_within(listener, make, &lifecycle, limits, &metrics).await
        })
    }
}
