//! The stack from start to stop, step by step.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::OptionFuture;
use service::{Lifecycle, telemetry};
use tokio::try_join;

use crate::database::Database;
use crate::issuer::Issuer;
use crate::options::Options;
use crate::ports::Ports;
use crate::supervisor::{Plan, Supervised};
use crate::{Service, process, sample, secret, supergraph, web};

/// How long mongod may take to stop, because it writes a checkpoint.
const MONGOD_STOP_TIME: Duration = Duration::from_secs(60);

/// How long the stack may take to stop: the gateway with the page service, then both subgraphs, then mongod. A process that it leaves
/// running ends by itself, because it watches the stack.
pub(crate) fn stop_time_limit() -> Duration {
    process::stop_time_limit(&[])
        .saturating_mul(2)
        .saturating_add(MONGOD_STOP_TIME)
}

/// Starts everything, prints `ready:`, keeps everything running until shutdown, and stops it.
pub(crate) async fn run(options: Options, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let shutdown = lifecycle.shutdown();
    let (ports, issuer) = if options.starts_issuer() {
        let (ports, listener) = Ports::choose_with_issuer(options.port)?;
        let issuer = Issuer::start(listener, options.issuer_token_lifetime)?;
        (ports, Some(issuer))
    } else {
        (Ports::choose(options.port)?, None)
    };
    let data_dir = &options.data_dir;
    std::fs::create_dir_all(data_dir)
        .with_context(|| format!("cannot create {}", data_dir.display()))?;
    let started = Instant::now();

    let opened = tokio::select! {
        opened = Database::open(options.mongo_uri.clone(), data_dir) => opened?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let mut database = opened;
    let result = tokio::select! {
        result = run_services(&options, ports, issuer.as_ref(), database.uri().to_owned(), started, &lifecycle) => result,
        reason = database.keep_running() => Err(reason),
    };
    database.stop().await;
    result
}

async fn run_services(
    options: &Options,
    ports: Ports,
    issuer: Option<&Issuer>,
    mongo_uri: String,
    started: Instant,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    let shutdown = lifecycle.shutdown();
    let mut services = tokio::select! {
        services = start_services(options, ports, issuer, &mongo_uri) => services?,
        () = shutdown.cancelled() => return Ok(()),
    };
    telemetry::tell(format_args!(
        "ready after {:.1} s; Ctrl-C stops everything",
        started.elapsed().as_secs_f64()
    ));
    telemetry::print(format_args!("ready: {}", services.gateway.url("/")));

    let reason = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        reason = services.keep_running() => Err(reason),
    };
    services.stop().await;
    reason
}

/// The services of a running stack.
struct Services {
    gateway: Supervised,
    posts: Supervised,
    comments: Supervised,
    /// Where there are pages to render.
    pages: Option<Supervised>,
}

async fn start_services(
    options: &Options,
    ports: Ports,
    issuer: Option<&Issuer>,
    mongo_uri: &str,
) -> anyhow::Result<Services> {
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let supergraph = supergraph::file(&options.data_dir)?;
    let web = if options.no_web {
        None
    } else {
        web::built_folder().await
    };
    let operations = options.operations_port.map(Ports::choose).transpose()?;
    // Without it, whoever reaches a subgraph could say who asks. Set, but empty, it is none.
    let secret = match service::is_set("SUBGRAPH_SECRET") {
        false => Some(secret::generate()?),
        true => None,
    };
    // Claims count in signed requests only.
    let is_signed = secret.is_some() || has_value("SUBGRAPH_SECRET");
    let knows_people = is_signed && (issuer.is_some() || has_value("JWT_JWKS"));
    let plan = |service: Service, more: Vec<(&'static str, String)>| {
        let port = ports.of(service).to_string();
        let mut settings = vec![("HOST", "127.0.0.1".to_owned()), ("PORT", port)];
        settings.extend(more);
        if let Some(operations) = operations {
            settings.push(("OPERATIONS_PORT", operations.of(service).to_string()));
        }
        if let Some(secret) = &secret {
            settings.push(("SUBGRAPH_SECRET", secret.clone()));
        }
        if !service::is_set("DEVELOPMENT") {
            // Metrics; at the gateway GraphiQL, introspection and subgraph errors as they are.
            settings.push(("DEVELOPMENT", "true".to_owned()));
        }
        if !service::is_set("LOG") {
            // At a terminal, only problems are of interest.
            settings.push(("LOG", "warn".to_owned()));
        }
        Plan {
            program: program.clone(),
            service,
            settings,
        }
    };
    let subgraph = || {
        let mut settings = vec![("MONGO_URI", mongo_uri.to_owned())];
        if !service::is_set("ANONYMOUS_WRITES") {
            // Guests cannot change anything where people can sign in; where nobody can, everybody may.
            let guests_may = if knows_people { "create" } else { "change" };
            settings.push(("ANONYMOUS_WRITES", guests_may.to_owned()));
        }
        settings
    };
    // A page service that somebody has set is used instead.
    let rendered = web.as_deref().filter(|_| !service::is_set("PAGES_URL"));
    let pages = rendered.map(|folder| pages_settings(folder, ports));
    let pages = pages.transpose()?;
    let operations_ports = operations.unwrap_or(ports);
    let mut graph = gateway_settings(&supergraph, web.as_deref(), ports, operations_ports)?;
    if pages.is_some() {
        graph.extend(forwarding_settings(ports));
    }
    if let Some(issuer) = issuer {
        graph.extend(identity_settings(issuer));
    }
    let pages = pages.map(|settings| Supervised::start(plan(Service::Pages, settings)));
    let (posts, comments, gateway, pages) = try_join!(
        Supervised::start(plan(Service::Posts, subgraph())),
        Supervised::start(plan(Service::Comments, subgraph())),
        Supervised::start(plan(Service::Gateway, graph)),
        async { OptionFuture::from(pages).await.transpose() },
    )?;
    if !options.no_sample {
        sample::add_if_empty(&gateway.url("/graphql"))
            .await
            .context("cannot add the sample posts")?;
    }
    Ok(Services {
        gateway,
        posts,
        comments,
        pages,
    })
}

/// Whether a setting has a value that is not empty, in a variable or in a file.
fn has_value(name: &str) -> bool {
    let variables = [name.to_owned(), service::file_variable(name)];
    let values = variables.iter().filter_map(std::env::var_os);
    values.into_iter().any(|value| !value.is_empty())
}

/// An absolute path, as the text of a setting.
fn text_of(path: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path)?;
    let text = path.to_str();
    let text = text.with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.to_owned())
}

fn pages_settings(web: &Path, ports: Ports) -> anyhow::Result<Vec<(&'static str, String)>> {
    let origin = format!("http://127.0.0.1:{}", ports.gateway);
    let graphql = format!("{origin}/graphql");
    let mut settings = vec![("WEB_DIR", text_of(web)?), ("GRAPHQL_URL", graphql)];
    if !service::is_set("PUBLIC_URL") {
        settings.push(("PUBLIC_URL", origin));
    }
    Ok(settings)
}

/// How the gateway knows the page service.
fn forwarding_settings(ports: Ports) -> Vec<(&'static str, String)> {
    let mut settings = vec![("PAGES_URL", format!("http://127.0.0.1:{}", ports.pages))];
    if !service::is_set("PAGES_PATHS") {
        settings.push(("PAGES_PATHS", pages::PATHS.join(",")));
    }
    settings
}

fn gateway_settings(
    supergraph: &Path,
    web: Option<&Path>,
    ports: Ports,
    operations: Ports,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let url = |port: u16| format!("http://127.0.0.1:{port}/graphql");
    let metrics = |name, port: u16| format!("{name}=http://127.0.0.1:{port}/metrics");
    let mut settings = vec![
        ("SUPERGRAPH", text_of(supergraph)?),
        ("SUBGRAPH_URL_POSTS", url(ports.posts)),
        ("SUBGRAPH_URL_COMMENTS", url(ports.comments)),
    ];
    if !service::is_set("SHOWN_ERROR_CODES") {
        settings.push(("SHOWN_ERROR_CODES", subgraph::Code::shown_to_clients()));
    }
    if !service::is_set("METRICS_PAGES") {
        let mut pages = vec![
            metrics("posts", operations.posts),
            metrics("comments", operations.comments),
        ];
        if web.is_some() && !service::is_set("PAGES_URL") {
            pages.push(metrics("pages", operations.pages));
        }
        settings.push(("METRICS_PAGES", pages.join(",")));
    }
    if let Some(folder) = web {
        settings.push(("WEB_DIR", text_of(folder)?));
    }
    Ok(settings)
}

/// How the gateway knows the issuer's tokens, and pages where to get them.
fn identity_settings(issuer: &Issuer) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("JWT_JWKS", issuer.url("/jwks.json")),
        ("JWT_ISSUER", issuer.url("")),
    ];
    let defaults = [
        ("SUBGRAPH_CLAIMS", "sub,name,scope".to_owned()),
        // Readers of one post share its subscription, whoever they are.
        ("VIEWER_TAGS", "posts,comments".to_owned()),
        ("WEB_SIGN_IN_URL", issuer.url("/token")),
        // A token of before a restart has an unknown key: its client would wait this long for the refusal.
        ("JWT_JWKS_PAUSE", "250ms".to_owned()),
    ];
    let unset = defaults.into_iter();
    settings.extend(unset.filter(|(name, _)| !service::is_set(name)));
    settings
}

impl Services {
    async fn keep_running(&mut self) -> anyhow::Error {
        let pages = async {
            match &mut self.pages {
                Some(pages) => pages.keep_running().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = self.gateway.keep_running() => reason,
            reason = self.posts.keep_running() => reason,
            reason = self.comments.keep_running() => reason,
            reason = pages => reason,
        }
    }

    /// The gateway first, so that no client sees a subgraph leave.
    async fn stop(&mut self) {
        let pages = OptionFuture::from(self.pages.as_mut().map(Supervised::stop));
        tokio::join!(self.gateway.stop(), pages);
        tokio::join!(self.posts.stop(), self.comments.stop());
    }
}
