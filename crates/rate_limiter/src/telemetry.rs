//! What the asynchronous path tells `metrics` and `tracing`, behind features of these names.
//!
//! The counter `patterns.rate_limiter.decisions` and the span `patterns.rate_limiter.acquire` carry the
//! labels of [`backends::telemetry`]. A fallback counts `patterns.rate_limiter.store_errors`, and
//! `patterns.rate_limiter.decided_here` with its policy as another label. Without the features this compiles to
//! nothing.

use backends::Result;

use crate::Answer;

/// Observes the decision that `acquire` makes on `backend`.
pub(crate) async fn observe(
    backend: &'static str,
    acquire: impl Future<Output = Result<Answer>>,
) -> Result<Answer> {
    #[cfg(feature = "tracing")]
    let acquire = {
        use tracing::Instrument as _;
        let span =
            tracing::debug_span!("patterns.rate_limiter.acquire", backend, outcome = tracing::field::Empty);
        async {
            let result = acquire.await;
            tracing::Span::current().record("outcome", outcome(&result));
            result
        }
        .instrument(span)
    };
    let result = acquire.await;
    #[cfg(feature = "metrics")]
    {
        use backends::telemetry::{BACKEND, OP, OUTCOME};
        let labels = [(BACKEND, backend), (OP, "acquire"), (OUTCOME, outcome(&result))];
        metrics::counter!("patterns.rate_limiter.decisions", &labels).increment(1);
    }
    let _ = backend;
    result
}

#[cfg(any(feature = "metrics", feature = "tracing"))]
fn outcome(result: &Result<Answer>) -> &'static str {
    use crate::Decision;
    match result.as_ref().map(|answer| answer.decision) {
        Ok(Decision::Allowed { .. }) => "allowed",
        Ok(Decision::Denied { .. }) => "denied",
        Ok(Decision::NeverFits { .. }) => "never_fits",
        Err(error) => error.kind().as_str(),
    }
}
