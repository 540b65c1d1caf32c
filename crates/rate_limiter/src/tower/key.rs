use std::fmt;

use http::Request;

/// Says who pays for a request, how much, and under which quota.
///
/// A closure `Fn(&Request<B>) -> Option<K>` is one; [`RateLimitBuilder::cost`](super::RateLimitBuilder::cost)
/// and [`tier_by`](super::RateLimitBuilder::tier_by) add the rest. Whatever a client may choose freely is no
/// key: it would have a new quota with each request.
pub trait KeyFn<B> {
    /// The type of the keys.
    type Key;

    /// Whose quota pays for `request`; with `None` happens what [`OnNoKey`](super::OnNoKey) says.
    fn key(&self, request: &Request<B>) -> Option<Self::Key>;

    /// How many tokens it costs. What costs nothing goes ahead without a decision.
    fn cost(&self, request: &Request<B>) -> u32 {
        let _ = request;
        1
    }

    /// The name of the tier whose limiter decides; the first one where there is none of this name.
    fn tier(&self, request: &Request<B>) -> Option<&str> {
        let _ = request;
        None
    }
}

impl<F, B, K> KeyFn<B> for F
where
    F: Fn(&Request<B>) -> Option<K>,
{
    type Key = K;

    #[inline]
    fn key(&self, request: &Request<B>) -> Option<K> {
        self(request)
    }
}

/// A [`KeyFn`] with another cost.
#[derive(Clone)]
pub struct WithCost<F, G> {
    pub(super) key: F,
    pub(super) cost: G,
}

impl<B, F: KeyFn<B>, G: Fn(&Request<B>) -> u32> KeyFn<B> for WithCost<F, G> {
    type Key = F::Key;

    fn key(&self, request: &Request<B>) -> Option<F::Key> {
        self.key.key(request)
    }

    fn cost(&self, request: &Request<B>) -> u32 {
        (self.cost)(request)
    }

    fn tier(&self, request: &Request<B>) -> Option<&str> {
        self.key.tier(request)
    }
}

/// A [`KeyFn`] with another choice of the tier.
#[derive(Clone)]
pub struct WithTier<F, G> {
    pub(super) key: F,
    pub(super) tier: G,
}

impl<B, F: KeyFn<B>, G: Fn(&Request<B>) -> Option<&'static str>> KeyFn<B> for WithTier<F, G> {
    type Key = F::Key;

    fn key(&self, request: &Request<B>) -> Option<F::Key> {
        self.key.key(request)
    }

    fn cost(&self, request: &Request<B>) -> u32 {
        self.key.cost(request)
    }

    fn tier(&self, request: &Request<B>) -> Option<&str> {
        (self.tier)(request)
    }
}

impl<F, G> fmt::Debug for WithCost<F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithCost").finish_non_exhaustive()
    }
}

impl<F, G> fmt::Debug for WithTier<F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithTier").finish_non_exhaustive()
    }
}
