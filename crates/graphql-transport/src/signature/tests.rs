//! Both sides together: what a gateway signs, and what is made of it on the way.

use http::{HeaderMap, HeaderValue, Method};

use super::{base::Request, secret::SECRET_BYTES_MIN, *};

const BODY: &[u8] = b"{\"query\":\"{ a }\"}";
const TARGET: (&str, &str) = ("/graphql", "a=1");
const INVALID: Result<(), &str> = Err("the signature is not valid");
const USED: Result<(), &str> = Err("the signature was used before: a request cannot be repeated");
const UNCOVERED: Result<(), &str> =
    Err("the signature does not cover the headers that say who asks");

fn secret(character: char) -> String {
    String::from(character).repeat(SECRET_BYTES_MIN)
}

fn secrets(text: &str) -> Secrets {
    Secrets::new(text).expect("long secrets")
}

fn verifier(text: &str, name: &str) -> Verifier {
    Verifier::new(text, name).expect("long secrets")
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A request for posts, signed with the secret `a` at 1000, with these headers.
fn signed_with(sent: &[(HeaderName, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in sent {
        headers.append(name, HeaderValue::from_static(value));
    }
    let signer = secrets(&secret('a')).signer("posts");
    let path = "/graphql?a=1";
    let signature = signer.sign_at(at(1000), "1", &Method::POST, path, Some(BODY), &headers);
    signature.expect("a secret").add_to(&mut headers);
    headers
}

fn signed(claims: Option<&'static str>) -> HeaderMap {
    let claims: Vec<_> = claims.map(|claims| (CLAIMS, claims)).into_iter().collect();
    signed_with(&claims)
}

/// What a service says of a request with [`BODY`].
fn said(
    verifier: &Verifier,
    now: u64,
    method: &Method,
    (path, query): (&str, &str),
    headers: &HeaderMap,
) -> Result<(), &'static str> {
    let request = Request {
        method,
        path,
        query,
        headers,
    };
    let head = verifier.head_at(at(now), &request, true)?;
    head.verify_body_at(at(now), BODY)
}

/// What posts says of it, at 1000, if it has accepted nothing before.
fn said_of(headers: &HeaderMap) -> Result<(), &'static str> {
    said_with(&secret('a'), headers)
}

fn said_with(text: &str, headers: &HeaderMap) -> Result<(), &'static str> {
    let posts = verifier(text, "posts");
    said(&posts, 1000, &Method::POST, TARGET, headers)
}

#[test]
fn another_implementation_signs_alike() {
    // The example of docs/gateway.md, signed with Python's `hmac`.
    let claims = HeaderValue::from_static("eyJzdWIiOiIxIn0");
    let signer = secrets("0123456789abcdef0123456789abcdef").signer("posts");
    let signed = signer.sign_at(
        at(1_764_446_400),
        "9c3f2a61d08e57b4-0",
        &Method::POST,
        "/graphql",
        Some(b"{\"query\":\"{ posts }\"}"),
        &HeaderMap::from_iter([(CLAIMS, claims)]),
    );
    let mut headers = HeaderMap::new();
    signed.expect("a secret").add_to(&mut headers);
    assert_eq!(
        headers[CONTENT_DIGEST],
        "sha-256=:oQhnnlk+VtuBXMYtmqY5uVuuKHcmlVkdT0dnsYgaWIc=:"
    );
    assert_eq!(
        headers[SIGNATURE_INPUT],
        "gateway=(\"@method\" \"@path\" \"@query\" \"content-digest\" \"rejoinder-claims\");\
         created=1764446400;nonce=\"9c3f2a61d08e57b4-0\";keyid=\"posts\";alg=\"hmac-sha256\""
    );
    assert_eq!(
        headers[SIGNATURE],
        "gateway=:0cvolYwSJW5RGdf2OlGXmTx1cv1RV39GP3QBzwvZyoA=:"
    );
}

#[test]
fn a_signed_request_is_accepted_and_a_changed_one_is_not() {
    assert_eq!(said_of(&signed(None)), Ok(()));
    let headers = signed(Some("eyJ9"));
    assert_eq!(said_of(&headers), Ok(()));
    let posts = verifier(&secret('a'), "posts");
    for (method, target) in [
        (Method::GET, TARGET),
        (Method::POST, ("/other", "a=1")),
        (Method::POST, ("/graphql", "a=2")),
    ] {
        assert_eq!(said(&posts, 1000, &method, target, &headers), INVALID);
    }
    assert_eq!(said_with(&secret('b'), &headers), INVALID);
    let mut forged = headers.clone();
    forged.insert(CLAIMS, HeaderValue::from_static("eyJ8"));
    assert_eq!(said_of(&forged), INVALID);
    forged.remove(CLAIMS);
    assert!(said_of(&forged).is_err());
    let mut replaced = headers.clone();
    let digest = HeaderValue::try_from(digest_of(b"{}")).expect("a value");
    replaced.insert(CONTENT_DIGEST, digest);
    assert_eq!(said_of(&replaced), INVALID);
    for name in &IDENTITY {
        let mut added = signed(None);
        added.insert(name, HeaderValue::from_static("of somebody else"));
        assert_eq!(said_of(&added), UNCOVERED);
    }
}

#[test]
fn a_repeated_header_is_refused() {
    let twice = Err("a header that says who asks is there twice");
    for name in [CLAIMS, header::AUTHORIZATION] {
        let mut headers = signed_with(&[(name.clone(), "a")]);
        headers.append(&name, HeaderValue::from_static("a"));
        assert_eq!(said_of(&headers), twice);
        // A covered value with a comma, in two lines: the text that is signed is the same, but a reader takes one.
        let mut headers = signed_with(&[(name.clone(), "a, b")]);
        assert_eq!(said_of(&headers), Ok(()));
        headers.insert(&name, HeaderValue::from_static("a"));
        headers.append(&name, HeaderValue::from_static("b"));
        assert_eq!(said_of(&headers), twice);
    }
    // HTTP/2 sends a cookie in pieces.
    let headers = signed_with(&[(header::COOKIE, "a=1"), (header::COOKIE, "b=2")]);
    assert_eq!(said_of(&headers), Ok(()));
    for name in [SIGNATURE, SIGNATURE_INPUT, CONTENT_DIGEST] {
        let mut headers = signed(None);
        headers.append(&name, headers[&name].clone());
        assert!(said_of(&headers).is_err(), "{name}");
    }
}

#[test]
fn a_signature_is_worth_nothing_at_another_service() {
    let headers = signed(None);
    let comments = verifier(&secret('a'), "comments");
    let other = Err("the signature is for another subgraph (SUBGRAPH_NAME)");
    let said_by_comments =
        |headers: &HeaderMap| said(&comments, 1000, &Method::POST, TARGET, headers);
    assert_eq!(said_by_comments(&headers), other);
    // Under the other's name: its key is another one.
    let mut renamed = headers.clone();
    let input = headers[SIGNATURE_INPUT].to_str().expect("text");
    let input = HeaderValue::try_from(input.replace("posts", "comments")).expect("a value");
    renamed.insert(SIGNATURE_INPUT, input);
    assert_eq!(said_by_comments(&renamed), INVALID);
    // The name is compared as it is.
    for name in ["Posts", "posts ", "post", "postss"] {
        let verifier = verifier(&secret('a'), name);
        let said = said(&verifier, 1000, &Method::POST, TARGET, &headers);
        assert_eq!(said, other, "{name}");
    }
}

#[test]
fn a_service_needs_only_its_own_key() {
    let (a, b) = (secret('a'), secret('b'));
    let headers = signed(None);
    let keys = |text: &str, name: &str| secrets(text).keys_of(name).expect("a key");
    assert_eq!(said_with(&keys(&a, "posts"), &headers), Ok(()));
    let both = keys(&format!("{b},{a}"), "posts");
    assert_eq!(said_with(&both, &headers), Ok(()));
    let mixed = format!("{b}, {}", keys(&a, "posts"));
    assert_eq!(said_with(&mixed, &headers), Ok(()));
    assert_eq!(said_with(&keys(&a, "comments"), &headers), INVALID);
    assert_eq!(said_with(&keys(&b, "posts"), &headers), INVALID);
}

#[test]
fn a_request_is_accepted_once() {
    let headers = signed(Some("eyJ9"));
    let posts = verifier(&secret('a'), "posts");
    let said = |now| said(&posts, now, &Method::POST, TARGET, &headers);
    assert_eq!(said(1000), Ok(()));
    for now in [996, 1000, 1001, 1060] {
        assert_eq!(said(now), USED, "{now}");
    }
    assert_eq!(
        said(1061),
        Err("the signature has expired: it is valid for 60 s")
    );
    // Clones share what was accepted.
    let request = Request {
        method: &Method::POST,
        path: TARGET.0,
        query: TARGET.1,
        headers: &headers,
    };
    let repeated = posts.clone().head_at(at(1000), &request, true);
    assert_eq!(repeated.map(drop), USED);
}

#[test]
fn a_head_with_another_body_uses_nothing_up() {
    let headers = signed(None);
    let posts = verifier(&secret('a'), "posts");
    let request = Request {
        method: &Method::POST,
        path: TARGET.0,
        query: TARGET.1,
        headers: &headers,
    };
    let head = || posts.head_at(at(1000), &request, true);
    let (first, second, third) = (head(), head(), head());
    let with = |head: Result<SignedHead, _>, body| head?.verify_body_at(at(1000), body);
    let other = Err("the body is not the one that was signed");
    assert_eq!(with(first, b"{}"), other);
    // Of two that arrive together, one is accepted.
    assert_eq!(with(second, BODY), Ok(()));
    assert_eq!(with(third, BODY), USED);
}

#[test]
fn equal_requests_have_different_signatures() {
    let signer = secrets(&secret('a')).signer("posts");
    let posts = verifier(&secret('a'), "posts");
    let (method, path) = (Method::GET, "/graphql");
    for _ in 0..3 {
        let mut headers = HeaderMap::new();
        let signature = signer.sign(&method, path, None, &headers);
        signature.expect("a secret").add_to(&mut headers);
        let uri = path.parse().expect("a path");
        let first = posts.verify(&method, &uri, &headers);
        assert!(first.is_ok(), "{first:?}");
        assert!(posts.verify(&method, &uri, &headers).is_err());
    }
}

#[test]
fn a_signature_is_of_its_time() {
    let headers = signed(None);
    let said = |now| {
        let posts = verifier(&secret('a'), "posts");
        said(&posts, now, &Method::POST, TARGET, &headers)
    };
    for now in [995, 1000, 1060] {
        assert_eq!(said(now), Ok(()), "{now}");
    }
    for now in [0, 994, 1061, u64::from(u32::MAX)] {
        assert!(said(now).is_err(), "{now}");
    }
}

#[test]
fn a_signature_may_end_sooner() {
    let parameters =
        "(\"@method\" \"@path\" \"@query\");created=1000;expires=1010;nonce=\"1\";keyid=\"posts\"";
    let headers = HeaderMap::new();
    let mut request = Request {
        method: &Method::GET,
        path: "/graphql",
        query: "",
        headers: &headers,
    };
    let base = request.base(&["@method", "@path", "@query"], parameters);
    let key = secret::service_keys(&secret('a'), "posts").expect("a long secret");
    let tag = hmac::Mac::chain_update(key[0].clone(), base.expect("a base"));
    let tag = BASE64_STANDARD.encode(hmac::Mac::finalize(tag).into_bytes());
    let value = |text: String| HeaderValue::try_from(text).expect("a value");
    let headers = HeaderMap::from_iter([
        (SIGNATURE_INPUT, value(format!("gateway={parameters}"))),
        (SIGNATURE, value(format!("gateway=:{tag}:"))),
    ]);
    request.headers = &headers;
    let posts = verifier(&secret('a'), "posts");
    let said = |now| posts.head_at(at(now), &request, false).map(drop);
    assert_eq!(said(1010), Ok(()));
    assert!(said(1011).is_err());
}

#[test]
fn a_new_secret_is_added_before_the_old_one_is_removed() {
    let (a, b, headers) = (secret('a'), secret('b'), signed(None));
    for both in [format!("{b}, {a}"), format!("{a},{b}")] {
        assert_eq!(said_with(&both, &headers), Ok(()));
    }
    // The first one signs.
    let mut headers = HeaderMap::new();
    let signer = secrets(&format!("{b},{a}")).signer("posts");
    let signature = signer.sign_at(
        at(1000),
        "1",
        &Method::POST,
        "/graphql?a=1",
        Some(BODY),
        &headers,
    );
    signature.expect("a secret").add_to(&mut headers);
    assert_eq!(said_with(&b, &headers), Ok(()));
    assert_eq!(said_with(&a, &headers), INVALID);
}

#[test]
fn what_is_not_signed_is_refused() {
    let check = |name: HeaderName, value: &str| {
        let mut headers = signed(None);
        match value {
            "" => headers.remove(name),
            value => headers.insert(name, HeaderValue::try_from(value).expect("a value")),
        };
        said_of(&headers)
    };
    assert!(check(SIGNATURE, "").is_err());
    assert!(check(SIGNATURE_INPUT, "").is_err());
    let headers = signed(None);
    let good = headers[SIGNATURE_INPUT].to_str().expect("text");
    let signature = headers[SIGNATURE].to_str().expect("text");
    for (name, value) in [
        (
            SIGNATURE_INPUT,
            format!("proxy=(\"a,b\");created=1, {good}"),
        ),
        (SIGNATURE, format!("proxy=:AAAA:, {signature}")),
    ] {
        assert_eq!(check(name, &value), Ok(()), "{value}");
    }
    let (_, parameters) = good.split_once(')').expect("parameters");
    let mut reordered: Vec<&str> = parameters.split(';').skip(1).collect();
    reordered.reverse();
    let reordered = format!(";{}", reordered.join(";"));
    for input in [
        format!("{good}, {good}"),
        good.replace("gateway", "other"),
        good.replace(parameters, &reordered),
        good.replace("\"@method\" \"@path\"", "\"@path\" \"@method\""),
        good.replace("\"@path\" ", "\"@path\"  "),
        good.replace("created=1000;", ""),
        good.replace("created=1000", "created=1001"),
        good.replace("created=1000", "created=+1000"),
        good.replace("created=1000", "created=01000"),
        good.replace("created=1000", "created=1000;created=1"),
        good.replace("nonce=\"1\"", "nonce=\"2\""),
        good.replace("nonce=\"1\";", ""),
        good.replace("hmac-sha256", "rsa-v1_5-sha256"),
        good.replace("keyid=\"posts\"", "keyid=\"gateway\""),
        good.replace("keyid=\"posts\"", "keyid=posts"),
        good.replace("keyid=\"posts\";", ""),
        good.replace("\"@query\" ", ""),
        good.replace(" \"content-digest\"", ""),
        good.replace("\"@query\"", "\"@query\";req"),
        good.replace("\"@query\"", "\"@query\" \"@authority\""),
        good.replace("\"@query\"", "\"@query\" \"@query\""),
        format!("{good};tag=\"{}\"", "a".repeat(100_000)),
        good.replace(
            "\"@query\"",
            &format!("\"@query\"{}", " \"a\"".repeat(20_000)),
        ),
        format!("{}{good}", "a=(),".repeat(20_000)),
        "\"".repeat(100_000),
        "gateway".to_owned(),
        "gateway=".to_owned(),
        "gateway=(".to_owned(),
        "gateway=()".to_owned(),
    ] {
        let said = check(SIGNATURE_INPUT, &input);
        let is_only_longer = input.starts_with("a=()");
        assert_eq!(said.is_ok(), is_only_longer, "{input:.200}: {said:?}");
    }
    for signature in [
        "gateway=::",
        "gateway=:AAAA:",
        "gateway=AAAA",
        "gateway=:!:",
        &signature[..signature.len() - 5],
        &format!("gateway=:{}:", "A".repeat(100_000)),
    ] {
        assert!(check(SIGNATURE, signature).is_err(), "{signature:.200}");
    }
}
