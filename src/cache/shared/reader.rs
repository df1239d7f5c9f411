//! The asking thread: questions of all requests in, one round trip, answers out.
//!
//! Owns the reading connection and the probes. It must not know what the entries are for.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::link::Link;
use super::{Around, Ask, name, read_value};
use crate::cached_score;

/// Names asked for in one round trip, but for a single larger request.
const NAMES: usize = 10_000;

/// How long the thread sleeps at most while nobody asks and nothing is due.
const IDLE: Duration = Duration::from_mins(1);

pub(super) fn run(around: &Around, asks: &Receiver<Ask>) {
    let mut link = None;
    loop {
        if around.breaker.pause().is_some_and(|pause| pause.is_zero()) {
            link = probe(around);
        }
        match asks.recv_timeout(around.breaker.pause().unwrap_or(IDLE)) {
            Ok(ask) => answer(around, &mut link, gather(ask, asks)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Connects and asks whether anybody is there. No request waits for this, so it may take longer than one would.
fn probe(around: &Around) -> Option<Link> {
    let patience = around.timeout.max(Duration::from_millis(100));
    let connected = around.open(patience);
    match connected.and_then(|mut link| link.ping(patience).map(|()| link)) {
        Ok(link) => {
            around.breaker.close();
            tracing::info!("the shared cache tier answers");
            Some(link)
        }
        Err(error) => {
            around.broke("probing", &error);
            None
        }
    }
}

/// Everybody who asks at this moment.
fn gather(first: Ask, asks: &Receiver<Ask>) -> Vec<Ask> {
    let mut names = first.keys.len();
    let mut all = vec![first];
    while names < NAMES
        && let Ok(ask) = asks.try_recv()
    {
        names += ask.keys.len();
        all.push(ask);
    }
    all
}

/// Dropping a question unanswered means for its request that nothing is there.
fn answer(around: &Around, link: &mut Option<Link>, asks: Vec<Ask>) {
    if !around.breaker.is_closed() {
        return;
    }
    let Some(connection) = link else { return };
    // Those who gave up are not asked for.
    let asks: Vec<Ask> = asks.into_iter().filter(|ask| !ask.reply.is_closed()).collect();
    let names = |ask: &Ask| ask.keys.iter().map(|key| name(&ask.prefix, *key)).collect::<Vec<_>>();
    let names: Vec<String> = asks.iter().flat_map(names).collect();
    if names.is_empty() {
        return;
    }
    let found = match connection.get(&names, around.patience(names.len())) {
        Ok(found) => found,
        Err(error) => {
            // Whatever went wrong, an answer may still be on its way: this connection is not used again.
            *link = None;
            return around.broke("reading", &error);
        }
    };
    let now = cached_score::now();
    let mut found = names.iter().zip(found).map(|(name, bytes)| {
        bytes.and_then(|bytes| read_value(name, &bytes)).filter(|cached| !cached.is_from_the_future(now))
    });
    for ask in asks {
        let entries = found.by_ref().take(ask.keys.len()).collect();
        // A request that gave up meanwhile has no use for it.
        drop(ask.reply.send(entries));
        drop(ask.memory);
    }
}
