//! The text that is signed.

use http::{HeaderMap, Method};

/// The parts of a request that a signature may cover.
pub(super) struct Request<'r> {
    pub method: &'r Method,
    pub path: &'r str,
    /// Without the question mark.
    pub query: &'r str,
    pub headers: &'r HeaderMap,
}

impl Request<'_> {
    /// The signature base (RFC 9421, section 2.5).
    ///
    /// # Errors
    /// If the request has no such component.
    pub(super) fn base(
        &self,
        components: &[&str],
        parameters: &str,
    ) -> Result<Vec<u8>, &'static str> {
        let mut base = Vec::with_capacity(512);
        let mut line = |name: &str, values: &[&[u8]]| {
            base.extend_from_slice(b"\"");
            base.extend_from_slice(name.as_bytes());
            base.extend_from_slice(b"\": ");
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    base.extend_from_slice(b", ");
                }
                base.extend_from_slice(value);
            }
            base.extend_from_slice(b"\n");
        };
        for component in components {
            match *component {
                "@method" => line(component, &[self.method.as_str().as_bytes()]),
                "@path" if self.path.is_empty() => line(component, &[b"/"]),
                "@path" => line(component, &[self.path.as_bytes()]),
                "@query" => line(component, &[format!("?{}", self.query).as_bytes()]),
                name => {
                    let values = self.headers.get_all(name).iter();
                    let values: Vec<&[u8]> =
                        values.map(|value| value.as_bytes().trim_ascii()).collect();
                    if values.is_empty() {
                        return Err(
                            "the signature covers something that the request does not have",
                        );
                    }
                    line(name, &values);
                }
            }
        }
        base.extend_from_slice(b"\"@signature-params\": ");
        base.extend_from_slice(parameters.as_bytes());
        Ok(base)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::signature::{CONTENT_DIGEST, digest_of};

    #[test]
    fn the_base_is_that_of_the_specification() {
        // RFC 9421, section 2.5, without the components that are not used here.
        let headers = HeaderMap::from_iter([(
            CONTENT_DIGEST,
            HeaderValue::from_static(
                "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
            ),
        )]);
        let request = Request {
            method: &Method::POST,
            path: "/foo",
            query: "",
            headers: &headers,
        };
        let parameters =
            "(\"@method\" \"@path\" \"content-digest\");created=1618884473;keyid=\"test-key\"";
        let base = request.base(&["@method", "@path", "content-digest"], parameters);
        let expected = format!(
            "\"@method\": POST\n\"@path\": /foo\n\"content-digest\": {}\n\"@signature-params\": {parameters}",
            headers[CONTENT_DIGEST].to_str().expect("text")
        );
        assert_eq!(base.expect("a base"), expected.as_bytes());
        // RFC 9530, appendix D.
        assert_eq!(
            digest_of(b"{\"hello\": \"world\"}\n"),
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
        );
    }
}
