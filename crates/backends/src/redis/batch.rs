//! Many commands at once, each for itself.

use std::{ops::Range, sync::Arc};

use redis::{RedisError, Value};
use tokio::time::Instant;

use super::{
    cluster::{Cluster, Course, Groups, Part, refusal},
    connection::Server,
    error::{Failure, redis_error},
    link::{Link, Pending},
    node::ASKING,
    packed::Batch,
    resp::Reply,
    route::{Route, route_of},
};
use crate::Error;

/// Commands that are under way together.
const TOGETHER: usize = 16_384;

pub(super) async fn each(
    server: &Server,
    backend: &'static str,
    op: &'static str,
    batch: &Batch,
) -> Vec<Result<Reply, Error>> {
    let result = |reply| match reply {
        Reply::Value(Value::ServerError(error)) => Err(redis_error(backend, op, RedisError::from(error))),
        reply => Ok(reply),
    };
    let mut results = Vec::with_capacity(batch.len());
    while results.len() < batch.len() {
        let places = results.len()..batch.len().min(results.len() + TOGETHER);
        match server {
            Server::Single(node) => {
                let bytes = batch.encoded(places.clone());
                let encode = |out: &mut Vec<u8>| out.extend_from_slice(bytes);
                match node.request(places.len(), node.deadline(), encode).await {
                    Ok(replies) => results.extend(replies.into_iter().map(result)),
                    Err(failure) => results.extend(places.map(|_| Err(failure.clone().at(backend, op)))),
                }
            }
            Server::Cluster(cluster) => {
                let answers = on_cluster(cluster, batch, places).await;
                results.extend(answers.into_iter().map(|answer| match answer {
                    Ok(reply) => result(reply),
                    Err(failure) => Err(failure.at(backend, op)),
                }));
            }
        }
    }
    results
}

type Answers = Vec<Result<Reply, Failure>>;

async fn on_cluster(cluster: &Arc<Cluster>, batch: &Batch, places: Range<usize>) -> Answers {
    let deadline = Instant::now() + cluster.settings.request_timeout;
    let first = places.start;
    let routes: Vec<_> = places.clone().map(|place| route_of(batch.words(place))).collect();
    let mut answers: Answers = places.map(|_| Ok(Reply::Value(Value::Nil))).collect();
    let Groups { mut parts, homeless } = cluster.group(routes.iter().copied());
    for index in homeless {
        answers[index] = Err(Failure::down("no node is known to serve the slot"));
    }
    let mut course = Course::new();
    while !parts.is_empty() {
        send(&parts, batch, first, deadline, &mut answers).await;
        let mut next: Vec<Part> = Vec::new();
        let mut course_is_open = None;
        for (node, items) in parts {
            let mut is_lost = false;
            for (index, asking) in items {
                let refusal = match &answers[index] {
                    Ok(Reply::Value(value)) => refusal(value),
                    Ok(_) => None,
                    Err(_) => {
                        is_lost = true;
                        continue;
                    }
                };
                let (Some(refusal), Route::Slot(slot)) = (refusal, routes[index]) else { continue };
                // One step, and at most one pause, for all that were refused together.
                let goes_on = match course_is_open {
                    Some(goes_on) => goes_on,
                    None => *course_is_open.insert(course.goes_on(&refusal, deadline).await),
                };
                let target = cluster.target(refusal, slot, &node, asking);
                let Some((to, asking)) = target.filter(|_| goes_on) else { continue };
                match next.iter_mut().find(|(node, _)| node.address == to.address) {
                    Some((_, items)) => items.push((index, asking)),
                    None => next.push((to, vec![(index, asking)])),
                }
            }
            if is_lost {
                cluster.refresh_soon();
            }
        }
        parts = next;
    }
    answers
}

/// Sends to all nodes before it waits for the first.
async fn send(parts: &[Part], batch: &Batch, first: usize, deadline: Instant, answers: &mut Answers) {
    let mut pending = Vec::with_capacity(parts.len());
    let mut connecting = Vec::new();
    for part in parts {
        match part.0.ready() {
            Ok(Some(link)) => pending.push((part, start(link, part, batch, first))),
            Ok(None) => connecting.push(part),
            Err(failure) => pending.push((part, Err(failure))),
        }
    }
    // All of them are being connected to by now, so that the slowest one alone is waited for.
    for part in connecting {
        let started = match part.0.link(deadline).await {
            Ok(link) => start(link, part, batch, first),
            Err(failure) => Err(failure),
        };
        pending.push((part, started));
    }
    for ((_, items), started) in pending {
        let replies = match started {
            Ok((link, pending)) => link.wait(pending, deadline).await,
            Err(failure) => Err(failure),
        };
        match replies {
            Ok(replies) => {
                let mut replies = replies.into_iter();
                for (index, asking) in items {
                    if *asking {
                        replies.next();
                    }
                    answers[*index] = replies.next().ok_or_else(Failure::broken);
                }
            }
            Err(failure) => items.iter().for_each(|(index, _)| answers[*index] = Err(failure.clone())),
        }
    }
}

fn start(
    link: Arc<Link>,
    (_, items): &Part,
    batch: &Batch,
    first: usize,
) -> Result<(Arc<Link>, Pending), Failure> {
    let due = items.len() + items.iter().filter(|(_, asking)| *asking).count();
    let pending = link.send(due, |out| {
        for (index, asking) in items {
            if *asking {
                out.extend_from_slice(ASKING);
            }
            out.extend_from_slice(batch.encoded(first + index..first + index + 1));
        }
    })?;
    Ok((link, pending))
}
