use std::{fmt::Write as _, time::Duration};

use backends::Error;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};

use super::fields::{escape, whole_seconds};

/// Why a request does not reach the service.
#[derive(Debug)]
#[non_exhaustive]
pub enum Denial<'a> {
    /// The quota is used up.
    Denied {
        /// The policy that was exceeded.
        policy: &'a str,
        /// When the request would be allowed; the field `Retry-After` has it in whole seconds, rounded up.
        retry_after: Duration,
    },
    /// It costs more than is ever allowed at once: coming back does not help.
    NeverFits {
        /// The policy that it exceeds.
        policy: &'a str,
        /// What it costs.
        cost: u32,
        /// The largest cost that can ever be allowed.
        burst: u64,
    },
    /// There is no key, and [`OnNoKey::Refuse`](super::OnNoKey).
    NoKey,
    /// The store could not decide, and [`OnStoreError::Deny`](super::OnStoreError).
    StoreFailed(&'a Error),
}

impl Denial<'_> {
    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Denied { .. } => StatusCode::TOO_MANY_REQUESTS,
            // Clients come back after a 429, with `Retry-After` or without; after a 413 they do not.
            Self::NeverFits { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoKey => StatusCode::FORBIDDEN,
            Self::StoreFailed(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Makes the response to a request that does not reach the service.
///
/// A function `Fn(&Denial<'_>) -> Response<B>` is one. The layer adds the fields `RateLimit-Policy`,
/// `RateLimit` and, where it has none yet, `Retry-After`.
pub trait OnDenied<B> {
    /// The response.
    fn respond(&self, denial: &Denial<'_>) -> Response<B>;
}

impl<B, F: Fn(&Denial<'_>) -> Response<B>> OnDenied<B> for F {
    fn respond(&self, denial: &Denial<'_>) -> Response<B> {
        self(denial)
    }
}

/// Problem details as of RFC 9457, for every body that can be made of a string.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProblemJson;

impl<B: From<String>> OnDenied<B> for ProblemJson {
    fn respond(&self, denial: &Denial<'_>) -> Response<B> {
        let mut response = Response::new(B::from(problem(denial)));
        *response.status_mut() = denial.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

/// Nothing of the request is in the text, and nothing of the error: it may name hosts.
fn problem(denial: &Denial<'_>) -> String {
    let status = denial.status();
    let (policy, detail) = match denial {
        Denial::Denied { policy, retry_after } => {
            (Some(policy), format!("retry after {} s", whole_seconds(*retry_after).max(1)))
        }
        Denial::NeverFits { policy, cost, burst } => {
            (Some(policy), format!("the request costs {cost}; at most {burst} are allowed at once"))
        }
        Denial::NoKey => (None, "the request does not say whose quota it uses".to_owned()),
        Denial::StoreFailed(_) => (None, "the rate limit cannot be checked now".to_owned()),
    };
    let (kind, title) = match policy {
        Some(_) => (
            "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "Request cannot be satisfied as assigned quota has been exceeded",
        ),
        None => ("about:blank", status.canonical_reason().unwrap_or_default()),
    };
    let status = status.as_u16();
    let mut text = format!(r#"{{"type":"{kind}","title":"{title}","status":{status},"detail":"{detail}""#);
    if let Some(policy) = policy {
        // Names are printable ASCII, of which strings in JSON and in structured fields escape the same.
        let _ = write!(text, r#","violated-policies":["{}"]"#, escape(policy));
    }
    text.push('}');
    text
}
