//! The settings of traces: OpenTelemetry's own names, so that what operators know is valid here.
//!
//! Source: <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/> and
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>. An empty value is as none.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use crate::exporter::connector;
use crate::sampler::{Sampler, SamplerKind};

/// Where a receiver takes traces, below its address.
const TRACES_PATH: &str = "/v1/traces";

/// Which traces are made, and where they are sent.
#[derive(Clone, Debug, clap::Args)]
pub struct TraceSettings {
    /// Send traces by OTLP to the receiver at this address, such as an OpenTelemetry Collector: `http://collector:4318`.
    /// `/v1/traces` is added to it. By default no traces are made.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otel_exporter_otlp_endpoint: Option<Endpoint>,
    /// Send traces to this address as it is, instead of OTEL_EXPORTER_OTLP_ENDPOINT.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_name = "URL")]
    pub otel_exporter_otlp_traces_endpoint: Option<Endpoint>,
    /// Send these headers with traces, such as a key of the receiver: `name=value,name2=value2`, with percent-encoded values.
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        value_name = "HEADERS",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_headers: Option<Pairs>,
    /// Speak this protocol to the receiver. `http/protobuf` is the only one.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", default_value = "http/protobuf", value_parser = protocol)]
    pub otel_exporter_otlp_protocol: String,
    /// Trust the certificate authorities of this PEM file, instead of the public ones, for a receiver at `https`.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_CERTIFICATE", value_name = "FILE")]
    pub otel_exporter_otlp_certificate: Option<PathBuf>,
    /// Give the receiver this many milliseconds to take a batch of spans.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value_t = 10_000, value_parser = milliseconds())]
    pub otel_exporter_otlp_timeout: u64,
    /// Send traces with `otlp`, or make none with `none`.
    #[arg(long, env = "OTEL_TRACES_EXPORTER", default_value = "otlp", value_parser = exporter)]
    pub otel_traces_exporter: String,
    /// Choose the traces: `always_on`, `always_off` or `traceidratio`; with `parentbased_` before it, a request that comes
    /// with a trace is recorded if its sender records it. Clients of the gateway can decide so what it records.
    #[arg(long, env = "OTEL_TRACES_SAMPLER", default_value = "parentbased_always_on", value_parser = SamplerKind::from_str)]
    pub otel_traces_sampler: SamplerKind,
    /// Choose this share of the traces, from 0 to 1, with `traceidratio` and `parentbased_traceidratio`.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value = "1", value_parser = ratio)]
    pub otel_traces_sampler_arg: f64,
    /// Name the service in traces. By default it has the program's name.
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    pub otel_service_name: Option<String>,
    /// Add these attributes to the service in traces: `deployment.environment.name=production,region=eu`.
    #[arg(long, env = "OTEL_RESOURCE_ATTRIBUTES", value_name = "ATTRIBUTES")]
    pub otel_resource_attributes: Option<Pairs>,
    /// Send what waits at least this often, in milliseconds.
    #[arg(long, env = "OTEL_BSP_SCHEDULE_DELAY", default_value_t = 5_000, value_parser = milliseconds())]
    pub otel_bsp_schedule_delay: u64,
    /// Make no traces if this is `true`.
    #[arg(long, env = "OTEL_SDK_DISABLED", default_value = "false", value_parser = switch, num_args = 0..=1, default_missing_value = "true")]
    pub otel_sdk_disabled: bool,
    /// Hold at most this many bytes of memory for spans that wait for the receiver. Further ones are dropped, and counted.
    #[arg(long, env = "TRACES_BYTES_MAX", default_value_t = 8 * 1024 * 1024, value_parser = RangedU64ValueParser::<usize>::new().range(1_048_576..))]
    pub traces_bytes_max: usize,
}

impl TraceSettings {
    /// Where traces are sent; `None` if none are made.
    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        let given = |endpoint: &Option<Endpoint>| endpoint.clone().filter(|it| it.is_given());
        if self.otel_sdk_disabled || self.otel_traces_exporter == "none" {
            return None;
        }
        given(&self.otel_exporter_otlp_traces_endpoint).or_else(|| {
            let base = given(&self.otel_exporter_otlp_endpoint)?;
            let path = base.path.split('?').next().unwrap_or_default();
            let path = format!("{}{TRACES_PATH}", path.trim_end_matches('/'));
            Some(Endpoint { path, ..base })
        })
    }

    /// What is wrong with these settings though each of them accepts its value. Each text begins with the setting's name.
    pub fn mistakes(&self) -> Vec<String> {
        let Some(endpoint) = self.endpoint() else {
            return Vec::new();
        };
        let certificates = endpoint.is_tls.then(|| connector(self));
        let wrong = [
            self.headers().err(),
            certificates.and_then(|certificates| certificates.err()),
        ];
        let texts = wrong.into_iter().flatten();
        texts.map(|error| format!("{error:#}")).collect()
    }

    pub(crate) fn sampler(&self) -> Sampler {
        Sampler {
            kind: self.otel_traces_sampler,
            ratio: self.otel_traces_sampler_arg,
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.otel_exporter_otlp_timeout)
    }

    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.otel_bsp_schedule_delay)
    }

    /// The name and the attributes of the service, as attributes of the resource.
    pub(crate) fn resource(&self, program: &str, version: &str) -> Vec<(String, String)> {
        let pairs = self.otel_resource_attributes.clone().unwrap_or_default().0;
        let of_attributes = pairs.iter().find(|(name, _)| name == "service.name");
        let own = self
            .otel_service_name
            .as_deref()
            .filter(|name| !name.trim().is_empty());
        let name = own
            .or(of_attributes.map(|(_, name)| name.as_str()))
            .unwrap_or(program);
        let mut resource = vec![("service.name".to_owned(), name.to_owned())];
        if !pairs.iter().any(|(name, _)| name == "service.version") {
            resource.push(("service.version".to_owned(), version.to_owned()));
        }
        resource.extend(pairs.into_iter().filter(|(name, _)| name != "service.name"));
        resource
    }

    /// The headers for the receiver.
    ///
    /// # Errors
    /// Names what is no header, without its value.
    pub(crate) fn headers(&self) -> anyhow::Result<HeaderMap> {
        let pairs = self
            .otel_exporter_otlp_headers
            .clone()
            .unwrap_or_default()
            .0;
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let header = name
                .parse::<HeaderName>()
                .ok()
                .zip(HeaderValue::from_str(&value).ok());
            let Some((header, mut value)) = header else {
                anyhow::bail!("OTEL_EXPORTER_OTLP_HEADERS: {name:?} is not a header with a value");
            };
            value.set_sensitive(true);
            headers.append(header, value);
        }
        Ok(headers)
    }
}

/// The address of a receiver. A text that is empty is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    pub(crate) is_tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// With its query.
    pub(crate) path: String,
}

impl Endpoint {
    fn is_given(&self) -> bool {
        !self.host.is_empty()
    }

    /// Host and port, as in a `Host` header.
    pub(crate) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let expected = || "an address is expected that begins with http:// or https://".to_owned();
        let uri: Uri = text.trim().parse().map_err(|_| expected())?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(expected()),
        };
        let authority = uri.authority().ok_or_else(expected)?;
        if authority.as_str().contains('@') {
            return Err("OTEL_EXPORTER_OTLP_HEADERS is for credentials".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(expected());
        }
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if is_tls { 443 } else { 80 }),
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
        })
    }
}

/// Pairs as in W3C's baggage: `name=value,name2=value2`, with percent-encoded values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pairs(Vec<(String, String)>);

/// Without the values, which may be secrets.
impl fmt::Debug for Pairs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        formatter.debug_list().entries(names).finish()
    }
}

impl FromStr for Pairs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = |text: &str| {
            let (name, value) = text
                .split_once('=')
                .filter(|(name, _)| !name.trim().is_empty())?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            Some((name.trim().to_owned(), value.into_owned()))
        };
        let texts = text.split(',').filter(|text| !text.trim().is_empty());
        let pairs: Option<Vec<_>> = texts.map(pair).collect();
        let pairs = pairs.ok_or("`name=value` pairs are expected, with commas between them")?;
        Ok(Self(pairs))
    }
}

fn protocol(text: &str) -> Result<String, String> {
    match text.trim() {
        "" | "http/protobuf" => Ok("http/protobuf".to_owned()),
        _ => Err("http/protobuf is expected: receivers take it on port 4318".to_owned()),
    }
}

fn exporter(text: &str) -> Result<String, String> {
    match text.trim() {
        "" | "otlp" => Ok("otlp".to_owned()),
        "none" => Ok("none".to_owned()),
        _ => Err("otlp or none is expected".to_owned()),
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = match text.trim() {
        "" => Some(1.0),
        text => text.parse().ok(),
    };
    let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "a number from 0 to 1 is expected".to_owned())
}

fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "false" => Ok(false),
        "true" => Ok(true),
        _ => Err("true or false is expected".to_owned()),
    }
}

fn milliseconds() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..=600_000)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        traces: TraceSettings,
    }

    fn read(flags: &[&str]) -> Result<TraceSettings, String> {
        let arguments = ["program"].iter().chain(flags);
        let program = Program::try_parse_from(arguments).map_err(|error| error.to_string())?;
        Ok(program.traces)
    }

    fn endpoint(flags: &[&str]) -> Option<String> {
        let endpoint = read(flags).expect("valid").endpoint()?;
        let scheme = if endpoint.is_tls { "https" } else { "http" };
        Some(format!(
            "{scheme}://{}{}",
            endpoint.authority(),
            endpoint.path
        ))
    }

    #[test]
    fn an_address_turns_traces_on() {
        let base = "--otel-exporter-otlp-endpoint=http://collector:4318/";
        let own = "--otel-exporter-otlp-traces-endpoint=https://[::1]/own?a=1";
        assert_eq!(endpoint(&[]), None);
        assert_eq!(endpoint(&["--otel-exporter-otlp-endpoint="]), None);
        let traces = Some("http://collector:4318/v1/traces".to_owned());
        assert_eq!(endpoint(&[base]), traces);
        assert_eq!(
            endpoint(&[base, own]),
            Some("https://[::1]:443/own?a=1".to_owned())
        );
        assert_eq!(endpoint(&[base, "--otel-traces-exporter=none"]), None);
        assert_eq!(endpoint(&[base, "--otel-sdk-disabled=true"]), None);
        assert_eq!(endpoint(&[base, "--otel-sdk-disabled=false"]), traces);
    }

    #[test]
    fn nonsense_is_refused_and_secrets_are_not_shown() {
        for flag in [
            "--otel-exporter-otlp-endpoint=collector:4318",
            "--otel-exporter-otlp-endpoint=ftp://collector/",
            "--otel-exporter-otlp-endpoint=http://user:hunter2@collector/",
            "--otel-exporter-otlp-headers=key",
            "--otel-exporter-otlp-headers==value",
            "--otel-exporter-otlp-protocol=grpc",
            "--otel-exporter-otlp-timeout=0",
            "--otel-exporter-otlp-timeout=10s",
            "--otel-traces-exporter=zipkin",
            "--otel-traces-sampler=jaeger_remote",
            "--otel-traces-sampler-arg=1.5",
            "--otel-traces-sampler-arg=NaN",
            "--otel-resource-attributes=a=%ff",
            "--otel-sdk-disabled=perhaps",
            "--traces-bytes-max=1000",
        ] {
            let error = read(&[flag]).expect_err(flag);
            assert!(
                error.contains("expected")
                    || error.contains("is not in")
                    || error.contains("invalid")
                    || error.contains("credentials"),
                "{error}"
            );
        }
        let settings = read(&["--otel-exporter-otlp-headers=a b=hunter2"]).expect("pairs");
        let error = settings.headers().expect_err("no header").to_string();
        assert!(
            error.contains("a b") && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn pairs_are_decoded() {
        let settings =
            read(&["--otel-exporter-otlp-headers=authorization=Basic%20abc, x-tenant=t"]);
        let headers = settings.expect("pairs").headers().expect("headers");
        assert_eq!(headers["authorization"], "Basic abc");
        assert_eq!(headers["x-tenant"], "t");
        let settings =
            read(&["--otel-resource-attributes=service.name=a,region=eu"]).expect("pairs");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [
            pair("service.name", "a"),
            pair("service.version", "1"),
            pair("region", "eu"),
        ];
        assert_eq!(settings.resource("gateway", "1"), expected);
        let settings = read(&["--otel-service-name=b"]).expect("a name");
        assert_eq!(
            settings.resource("gateway", "1")[0],
            pair("service.name", "b")
        );
    }
}
