use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use backends::Result;
use http::{HeaderValue, Request, Response, header::RETRY_AFTER};
use tower_service::Service;

use super::{
    OnNoKey, OnStoreError, SendFields, Shared,
    decide::Decide,
    denial::{Denial, OnDenied, ProblemJson},
    fields::Policies,
    future::{Fields, ResponseFuture},
    key::KeyFn,
};
use crate::Decision;

/// A service of which each request must be allowed; [`RateLimitLayer`](super::RateLimitLayer) makes it.
///
/// Clones share the limiter.
pub struct RateLimit<S, L, F, R = ProblemJson> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared<L, F, R>>,
}

impl<S: Clone, L, F, R> Clone for RateLimit<S, L, F, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

/// What becomes of a request.
enum Verdict<B> {
    Pass { delay: Duration, fields: Fields },
    Refuse(Response<B>),
}

impl<S, L, F, R, B, C> Service<Request<B>> for RateLimit<S, L, F, R>
where
    S: Service<Request<B>, Response = Response<C>> + Clone + Send + 'static,
    S::Future: Send,
    F: KeyFn<B> + Send + Sync + 'static,
    F::Key: Send + 'static,
    L: Decide<F::Key>,
    R: OnDenied<C> + Send + Sync + 'static,
    B: Send + 'static,
{
    type Response = Response<C>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, C, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = &*self.shared;
        let Some(key) = shared.key.key(&request) else {
            return match shared.on_no_key {
                OnNoKey::Pass => self.pass(request, Fields::default()),
                OnNoKey::Refuse => ResponseFuture::refused(shared.refuse(&Denial::NoKey, Fields::default())),
            };
        };
        let tier = shared.tier(shared.key.tier(&request));
        let cost = shared.key.cost(&request);
        if cost == 0 {
            let fields = shared.fields_of_pass(tier, |_| None);
            return self.pass(request, fields);
        }
        let Some(decided) = shared.tiers[tier].limiter.decide_now(&key, cost) else {
            let shared = Arc::clone(&self.shared);
            return self.later(request, async move {
                let decided = shared.tiers[tier].limiter.decide(key, cost).await;
                shared.judge(tier, cost, decided)
            });
        };
        match shared.judge(tier, cost, decided) {
            Verdict::Pass { delay: Duration::ZERO, fields } => self.pass(request, fields),
            Verdict::Pass { delay, fields } => {
                self.later(request, async move { Verdict::Pass { delay, fields } })
            }
            Verdict::Refuse(response) => ResponseFuture::refused(response),
        }
    }
}

impl<S, L, F, R> RateLimit<S, L, F, R> {
    #[inline]
    fn pass<B, C>(&mut self, request: Request<B>, fields: Fields) -> ResponseFuture<S::Future, C, S::Error>
    where
        S: Service<Request<B>, Response = Response<C>>,
    {
        ResponseFuture::inner(self.inner.call(request), fields)
    }

    /// One box for the decision, the delay and the call together.
    fn later<B, C>(
        &mut self,
        request: Request<B>,
        decided: impl Future<Output = Verdict<C>> + Send + 'static,
    ) -> ResponseFuture<S::Future, C, S::Error>
    where
        S: Service<Request<B>, Response = Response<C>> + Clone + Send + 'static,
        S::Future: Send,
        B: Send + 'static,
    {
        // The one that said it was ready is the one to call; the clone has to be asked again.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        ResponseFuture::later(Box::pin(async move {
            let (delay, fields) = match decided.await {
                Verdict::Pass { delay, fields } => (delay, fields),
                Verdict::Refuse(response) => return Ok(response),
            };
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let mut response = inner.call(request).await?;
            fields.add_to(&mut response);
            Ok(response)
        }))
    }
}

impl<L, F, R> Shared<L, F, R> {
    #[inline]
    fn judge<C>(&self, tier: usize, cost: u32, decided: Result<Decision>) -> Verdict<C>
    where
        R: OnDenied<C>,
    {
        match decided {
            Ok(Decision::Allowed { delay, remaining, reset_after }) => {
                let told = |policies: &Policies| Some(policies.allowed(remaining, reset_after));
                Verdict::Pass { delay, fields: self.fields_of_pass(tier, told) }
            }
            other => self.judge_rare(tier, cost, other),
        }
    }

    #[inline]
    fn fields_of_pass(&self, tier: usize, limit: impl FnOnce(&Policies) -> Option<HeaderValue>) -> Fields {
        match self.send_fields {
            SendFields::Always => {
                let policies = &self.tiers[tier].policies;
                Fields { policy: Some(policies.header()), limit: limit(policies) }
            }
            SendFields::WhenRefused => Fields::default(),
        }
    }

    #[cold]
    fn judge_rare<C>(&self, tier: usize, cost: u32, decided: Result<Decision>) -> Verdict<C>
    where
        R: OnDenied<C>,
    {
        let policies = &self.tiers[tier].policies;
        let fields = |limit| Fields { policy: Some(policies.header()), limit };
        Verdict::Refuse(match decided {
            Ok(Decision::Allowed { delay, .. }) => {
                return Verdict::Pass { delay, fields: Fields::default() };
            }
            Ok(Decision::Denied { retry_after }) => {
                let exceeded = policies.denied(cost, retry_after);
                let denial = Denial::Denied { policy: exceeded.policy, retry_after };
                let mut response = self.refuse(&denial, fields(Some(exceeded.field)));
                // Not before the effective window ends.
                response.headers_mut().entry(RETRY_AFTER).or_insert_with(|| exceeded.seconds.into());
                response
            }
            Ok(Decision::NeverFits { burst }) => {
                let denial = Denial::NeverFits { policy: policies.with_burst(burst), cost, burst };
                // What remains is not known, and does not matter.
                self.refuse(&denial, fields(None))
            }
            Err(error) => match self.on_store_error {
                OnStoreError::Allow => {
                    self.counts.store_failed();
                    let fields = self.fields_of_pass(tier, |_| None);
                    return Verdict::Pass { delay: Duration::ZERO, fields };
                }
                OnStoreError::Deny => self.refuse(&Denial::StoreFailed(&error), fields(None)),
            },
        })
    }

    fn refuse<C>(&self, denial: &Denial<'_>, fields: Fields) -> Response<C>
    where
        R: OnDenied<C>,
    {
        self.counts.refused(denial);
        let mut response = self.on_denied.respond(denial);
        fields.add_to(&mut response);
        response
    }
}

impl<S: fmt::Debug, L: fmt::Debug, F, R> fmt::Debug for RateLimit<S, L, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("inner", &self.inner).field("shared", &self.shared).finish()
    }
}
