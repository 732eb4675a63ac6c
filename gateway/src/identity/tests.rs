//! Settings that are refused at the start.

use std::io::Write;

use clap::Parser;
use tempfile::NamedTempFile;

use super::*;
use crate::config::Config;

fn started(arguments: &[&str]) -> anyhow::Result<Option<Identities>> {
    let config = Config::try_parse_from(["gateway"].iter().chain(arguments))?;
    let headers = Arc::new(HeaderRules::new(&config.headers)?);
    let tls = Tls::default();
    Identities::new(&config.identity, &headers, &tls, IdentityMetrics::default)
}

fn refused(arguments: &[&str]) -> String {
    match started(arguments) {
        Ok(_) => panic!("{arguments:?} should be refused"),
        Err(error) => format!("{error:#}"),
    }
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

const SECRET: &str =
    r#"{"keys":[{"kty":"oct","kid":"1","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#;

#[test]
fn without_keys_nothing_is_looked_at() {
    for arguments in [
        &[][..],
        &["--jwt-jwks="],
        &["--jwt-jwks=", "--jwt-cookie=", "--jwt-issuer="],
    ] {
        assert!(started(arguments).expect("well-formed").is_none());
    }
}

#[test]
fn what_would_protect_nothing_is_refused() {
    for (argument, name) in [
        ("--jwt-required", "JWT_REQUIRED"),
        ("--jwt-issuer=a", "JWT_ISSUER"),
        ("--jwt-audience=a", "JWT_AUDIENCE"),
        ("--jwt-cookie=a", "JWT_COOKIE"),
        ("--subgraph-claims=sub", "SUBGRAPH_CLAIMS"),
    ] {
        let error = refused(&[argument]);
        assert!(
            error.starts_with(&format!("{name} needs JWT_JWKS")),
            "{error}"
        );
    }
}

#[test]
fn a_malformed_setting_is_refused_by_its_name() {
    let jwks = "--jwt-jwks=https://a.example/keys";
    for (arguments, expected) in [
        (
            &[jwks, "--jwt-algorithms=none"][..],
            "JWT_ALGORITHMS: \"none\"",
        ),
        (&[jwks, "--jwt-algorithms=RS1"], "JWT_ALGORITHMS: \"RS1\""),
        (
            &[jwks, "--jwt-algorithms="],
            "JWT_ALGORITHMS lists no algorithm",
        ),
        (
            &[jwks, "--jwt-algorithms=HS256"],
            "JWT_ALGORITHMS lists an algorithm with a shared",
        ),
        (
            &["--jwt-jwks=http://a.example/keys"],
            "JWT_JWKS: http://a.example/keys is not https",
        ),
        (&["--jwt-jwks=ftp://a.example/keys"], "JWT_JWKS: ftp://"),
        (&["--jwt-jwks=a b c"], "JWT_JWKS: it has to be"),
        (
            &["--jwt-jwks=/no/such/file"],
            "JWT_JWKS: /no/such/file: the file cannot be read",
        ),
        (
            &["--jwt-jwks=https://a/1,https://a/2", "--jwt-issuer=a,b"],
            "JWT_JWKS: with several sets,",
        ),
        (
            &["--jwt-jwks=https://a/1,https://a/2"],
            "JWT_JWKS: with several sets,",
        ),
        (
            &["--jwt-jwks=a https://a/1, https://b/1"],
            "JWT_JWKS: with several sets,",
        ),
        (
            &["--jwt-jwks=a https://a/1, https://b/1", "--jwt-issuer=a,b"],
            "JWT_JWKS: with several sets,",
        ),
        (
            &["--jwt-jwks=a https://a/1", "--jwt-issuer=a,b"],
            "JWT_ISSUER lists b, for which",
        ),
        (
            &["--jwt-jwks=c https://a/1", "--jwt-issuer=a"],
            "JWT_JWKS names the issuer c",
        ),
    ] {
        let error = refused(arguments);
        assert!(error.starts_with(expected), "{arguments:?}: {error}");
    }
    for arguments in [
        &[jwks][..],
        &[
            "--jwt-jwks=http://localhost:1/keys, http://[::1]:2/keys",
            "--jwt-issuer=a",
        ],
        &["--jwt-jwks=a http://localhost:1/keys, b http://[::1]:2/keys"],
        &["--jwt-jwks=http://a.example/keys", "--jwt-jwks-http"],
        &[
            "--jwt-jwks=a https://a/1, b https://b/1",
            "--jwt-issuer=a,b",
        ],
    ] {
        assert!(
            started(arguments).expect("well-formed").is_some(),
            "{arguments:?}"
        );
    }
}

#[test]
fn what_would_make_no_sense_is_refused() {
    for argument in [
        "--jwt-leeway=6m",
        "--jwt-leeway=100years",
        "--jwt-known-bytes-max=65535",
        "--jwt-known-bytes-max=-1",
    ] {
        assert!(
            started(&["--jwt-jwks=https://a.example/keys", argument]).is_err(),
            "{argument}"
        );
    }
    for argument in ["--jwt-leeway=5m", "--jwt-known-bytes-max=65536"] {
        let started = started(&["--jwt-jwks=https://a.example/keys", argument]);
        assert!(started.is_ok(), "{argument}");
    }
}

#[test]
fn a_file_has_to_have_a_key_that_can_be_used() {
    let secret = file(SECRET);
    let argument = format!("--jwt-jwks={}", secret.path().display());
    let error = refused(&[&argument]);
    assert!(error.ends_with("it has no key that can be used"), "{error}");
    let with_secrets = started(&[&argument, "--jwt-algorithms=HS256"]);
    assert!(with_secrets.expect("well-formed").is_some());
    for text in ["", "{}", "{\"keys\":{}}", "{\"keys\":[]}", "[]"] {
        let broken = file(text);
        let argument = format!("--jwt-jwks={}", broken.path().display());
        assert!(refused(&[&argument]).starts_with("JWT_JWKS: "), "{text}");
    }
}
