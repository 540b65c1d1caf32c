use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backends::Result;
use http::{HeaderName, HeaderValue, Response};
use pin_project_lite::pin_project;

use crate::BoxFuture;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What a response is told.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) policy: Option<HeaderValue>,
    pub(super) limit: Option<HeaderValue>,
}

impl Fields {
    /// Beside those of an inner layer: both are lists, and a list may be split over fields.
    #[inline]
    pub(super) fn add_to<B>(self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        if let Some(policy) = self.policy {
            headers.append(RATE_LIMIT_POLICY, policy);
        }
        if let Some(limit) = self.limit {
            headers.append(RATE_LIMIT, limit);
        }
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, B, E> {
        Inner { #[pin] future: F, fields: Fields },
        Refused { response: Option<Response<B>> },
        Later { future: Later<B, E> },
    }
}

pin_project! {
    /// The future of [`RateLimit`]: not boxed where the decision takes no waiting.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, B, E> {
        #[pin]
        state: State<F, B, E>,
    }
}

type Later<B, E> = BoxFuture<'static, Result<Response<B>, E>>;

impl<F, B, E> ResponseFuture<F, B, E> {
    #[inline]
    pub(super) const fn inner(future: F, fields: Fields) -> Self {
        Self { state: State::Inner { future, fields } }
    }

    #[inline]
    pub(super) const fn refused(response: Response<B>) -> Self {
        Self { state: State::Refused { response: Some(response) } }
    }

    pub(super) fn later(future: Later<B, E>) -> Self {
        Self { state: State::Later { future } }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Inner { future, fields } => {
                let mut result = ready!(future.poll(context));
                if let Ok(response) = &mut result {
                    mem::take(fields).add_to(response);
                }
                Poll::Ready(result)
            }
            StateProjection::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Polled after it was ready, which a future may answer as it likes; never is no panic.
                None => Poll::Pending,
            },
            StateProjection::Later { future } => future.as_mut().poll(context),
        }
    }
}

impl<F, B, E> fmt::Debug for ResponseFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
