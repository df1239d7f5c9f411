//! Every metric of the process, declared once with its help text.
//!
//! Owns the registry and the names. It must not know who counts: components receive `Arc<Metrics>` and touch fields.
//! Names follow Prometheus: `rescored_*`, base units, `_total` for counters. Labels are bounded sets, never texts.

mod exposition;
mod labels;

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub use labels::{Answered, Dialect, Outcome, Reason, Refused, Served, Traced, Worker};

type Count = Counter<u64, AtomicU64>;
type Latencies = HistogramWithExemplars<Traced>;
/// A number that goes up and down.
pub type Level = Gauge<i64, AtomicI64>;

/// Memory.
#[derive(Debug, Default)]
pub struct Memory {
    /// How short it is: 0 not at all, 1 caches are given up, 2 new work is refused, 3 new connections wait.
    pub pressure: Level,
    /// Bytes that may be held for requests at once.
    pub budget_bytes: Level,
    /// Bytes of these in use.
    pub budget_used_bytes: Level,
    /// Requests and warm-up lines that wait for some of them.
    pub budget_waiting: Level,
    /// Requests that were refused memory, by reason.
    pub budget_refusals: Family<Reason, Count>,
    /// Bytes planned for the connections that are open, beside the budget.
    pub connections_bytes: Level,
    /// Connections that there may be.
    pub connections_limit: Level,
}

/// All metrics. Fields are cheap to touch from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests answered, by dialect and status.
    pub requests: Family<Answered, Count>,
    /// Time from the first byte of a request's body read to its answer written out.
    pub request_seconds: Family<Dialect, Latencies, fn() -> Latencies>,
    /// Memory: how short it is, and what requests hold.
    pub memory: Memory,
    /// Connections that are open.
    pub connections: Level,
    /// Connections that were shut down, by reason.
    pub connections_shut: Family<Reason, Count>,
    /// Answers in which some documents were not scored in time, by their caller's leave.
    pub answers_partial: Count,
    /// API keys that are in force; 0 where none is asked for as well.
    pub api_keys: Level,
    /// Requests being worked on.
    pub requests_in_flight: Level,
    /// Pairs asked for.
    pub pairs: Count,
    /// Pairs answered from the cache.
    pub cache_hits: Count,
    /// Pairs that the cache did not hold.
    pub cache_misses: Count,
    /// Entries that the cache gave up to stay within its budget, or that grew too old.
    pub cache_evictions: Count,
    /// Entries in the cache.
    pub cache_entries: Level,
    /// Estimated bytes in the cache.
    pub cache_bytes: Level,
    /// Pairs that the shared tier held, of those that the first tier did not hold.
    pub cache_shared_hits: Count,
    /// Pairs that the shared tier did not hold.
    pub cache_shared_misses: Count,
    /// Asking the shared tier, or writing to it, did not work, by reason.
    pub cache_shared_failures: Family<Reason, Count>,
    /// Scores written to the shared tier.
    pub cache_shared_writes: Count,
    /// Scores not written to the shared tier, because it was down or slower than they came.
    pub cache_shared_dropped: Count,
    /// 1 while the shared tier is asked, 0 while it is left alone or there is none.
    pub cache_shared_up: Level,
    /// Snapshots, by what became of them.
    pub cache_snapshots: Family<Reason, Count>,
    /// Pairs that went through a forward pass.
    pub pairs_scored: Count,
    /// Documents that did not fit and were cut.
    pub documents_cut: Count,
    /// Documents without text, which rank last and were not scored.
    pub documents_empty: Count,
    /// Requests that asked for something that is not served, and got a warning.
    pub requests_warned: Count,
    /// Forward passes.
    pub forwards: Count,
    /// Tokens of real text that entered forward passes.
    pub tokens: Count,
    /// Padding that entered forward passes beside them.
    pub padding_tokens: Count,
    /// Pairs in one forward pass.
    pub batch_pairs: Histogram,
    /// Time a pair waited between its tokenisation and its forward pass.
    pub queue_seconds: Histogram,
    /// Time of one forward pass.
    pub forward_seconds: Histogram,
    /// Estimated tokens admitted and not yet scored.
    pub queue_tokens: Level,
    /// Estimated tokens that may wait.
    pub queue_limit_tokens: Level,
    /// Estimated tokens a second that the workers do, lately.
    pub drain_tokens_per_second: Level,
    /// Time each worker spent in forward passes.
    pub worker_busy_microseconds: Family<Worker, Count>,
    /// Workers that can take work.
    pub workers_alive: Level,
    /// Threads of workers that hung and were replaced.
    pub workers_left_behind: Level,
    /// What went wrong in workers, by reason.
    pub worker_faults: Family<Reason, Count>,
    /// Forward passes that were asked to stop, by reason.
    pub forwards_stopped: Family<Reason, Count>,
    /// Batches that went another way than their accelerator's best because it failed; read when metrics are scraped.
    pub accelerator_detours: Level,
    /// Ways of accelerators that are not used because they failed or gave wrong scores; read likewise.
    pub accelerator_refused: Level,
    /// Requests refused before any work, by reason.
    pub refusals: Family<Reason, Count>,
    /// Requests answered, by model.
    pub model_requests: Family<Served, Count>,
    /// Pairs of these.
    pub model_pairs: Family<Served, Count>,
    /// Pairs of these that the cache answered.
    pub model_cached_pairs: Family<Served, Count>,
    /// Tokens of these, cached ones included.
    pub model_tokens: Family<Served, Count>,
    /// Forward passes that these took part in, summed over workers.
    pub model_inference_work_microseconds: Family<Served, Count>,
    /// Estimated tokens admitted and not yet scored, by model.
    pub model_queue_tokens: Family<Served, Level>,
    /// Estimated tokens that may wait, by model that is loaded.
    pub model_queue_limit_tokens: Family<Served, Level>,
    /// Share of forward passes while others have work too, by model that is loaded.
    pub model_weight: Family<Served, Level>,
    /// Requests refused before any work, by model and reason.
    pub model_refusals: Family<Refused, Count>,
    /// Models loaded, unloaded, found unchanged, or refused, while serving.
    pub model_changes: Family<Reason, Count>,
    /// Models that answer from the CPU because their accelerator was lost.
    pub models_moved: Level,
    /// Pairs that failed, by reason.
    pub pair_failures: Family<Reason, Count>,
    /// Spans, by what became of them.
    pub trace_spans: Family<Outcome, Count>,
    /// Resident memory of the process, read when metrics are scraped.
    resident_bytes: Level,
}

/// From 100 µs, the time of a cached answer, to a minute.
fn latencies() -> impl Iterator<Item = f64> {
    exponential_buckets(0.0001, 2.0, 20)
}

fn latency() -> Histogram {
    Histogram::new(latencies())
}

/// The same, with traces to show for it.
fn traced_latency() -> Latencies {
    Latencies::new(latencies())
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

macro_rules! declare {
    ($registry:ident, $($name:literal, $help:literal, $metric:expr;)*) => {
        $( $registry.register($name, $help, $metric.clone()); )*
    };
}

impl Metrics {
    /// Declares all metrics at zero.
    #[expect(clippy::too_many_lines, reason = "a line a metric")]
    pub fn new() -> Self {
        let mut all = Self {
            registry: Registry::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(traced_latency as fn() -> Latencies),
            memory: Memory::default(),
            connections: Level::default(),
            connections_shut: Family::default(),
            answers_partial: Count::default(),
            api_keys: Level::default(),
            requests_in_flight: Level::default(),
            pairs: Count::default(),
            cache_hits: Count::default(),
            cache_misses: Count::default(),
            cache_evictions: Count::default(),
            cache_entries: Level::default(),
            cache_bytes: Level::default(),
            cache_shared_hits: Count::default(),
            cache_shared_misses: Count::default(),
            cache_shared_failures: Family::default(),
            cache_shared_writes: Count::default(),
            cache_shared_dropped: Count::default(),
            cache_shared_up: Level::default(),
            cache_snapshots: Family::default(),
            pairs_scored: Count::default(),
            documents_cut: Count::default(),
            documents_empty: Count::default(),
            requests_warned: Count::default(),
            forwards: Count::default(),
            tokens: Count::default(),
            padding_tokens: Count::default(),
            batch_pairs: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            queue_seconds: latency(),
            forward_seconds: latency(),
            queue_tokens: Level::default(),
            queue_limit_tokens: Level::default(),
            drain_tokens_per_second: Level::default(),
            worker_busy_microseconds: Family::default(),
            workers_alive: Level::default(),
            workers_left_behind: Level::default(),
            worker_faults: Family::default(),
            forwards_stopped: Family::default(),
            accelerator_detours: Level::default(),
            accelerator_refused: Level::default(),
            refusals: Family::default(),
            model_requests: Family::default(),
            model_pairs: Family::default(),
            model_cached_pairs: Family::default(),
            model_tokens: Family::default(),
            model_inference_work_microseconds: Family::default(),
            model_queue_tokens: Family::default(),
            model_queue_limit_tokens: Family::default(),
            model_weight: Family::default(),
            model_refusals: Family::default(),
            model_changes: Family::default(),
            models_moved: Level::default(),
            pair_failures: Family::default(),
            trace_spans: Family::default(),
            resident_bytes: Level::default(),
        };
        let mut root = std::mem::take(&mut all.registry);
        all.declare(root.sub_registry_with_prefix("rescored"));
        all.registry = root;
        all
    }

    fn declare(&self, r: &mut Registry) {
        self.declare_by_model(r);
        let requests = self.request_seconds.clone();
        r.register_with_unit("request", "time from a request's head to its answer", Unit::Seconds, requests);
        r.register_with_unit(
            "queue",
            "time a pair waited for a forward pass",
            Unit::Seconds,
            self.queue_seconds.clone(),
        );
        r.register_with_unit("forward", "time of one forward pass", Unit::Seconds, self.forward_seconds.clone());
        declare! { r,
                   "requests", "requests answered, by dialect and status; face repeats dialect and will go", self.requests;
                   "memory_pressure", "how short memory is, from 0 to 3", self.memory.pressure;
            "memory_budget_bytes", "bytes of memory that may be held for requests at once", self.memory.budget_bytes;
            "memory_budget_used_bytes", "bytes of the memory budget in use", self.memory.budget_used_bytes;
            "memory_budget_waiting", "requests and warm-up lines that wait for memory", self.memory.budget_waiting;
            "memory_budget_refusals", "requests that were refused memory, by reason", self.memory.budget_refusals;
            "memory_connections_bytes", "bytes planned for open connections, beside the memory budget", self.memory.connections_bytes;
            "connections", "connections that are open", self.connections;
            "connections_limit", "connections that there may be", self.memory.connections_limit;
            "connections_shut", "connections that were shut down, by reason", self.connections_shut;
            "answers_partial", "answers in which some documents were not scored in time", self.answers_partial;
            "api_keys", "api keys in force", self.api_keys;
            "requests_in_flight", "requests being worked on", self.requests_in_flight;
                   "pairs", "pairs asked for", self.pairs;
                   "cache_hits", "pairs answered from the cache", self.cache_hits;
                   "cache_misses", "pairs that the cache did not hold", self.cache_misses;
                   "cache_evictions", "entries given up by the cache", self.cache_evictions;
                   "cache_entries", "entries in the cache", self.cache_entries;
                   "cache_bytes", "estimated bytes in the cache", self.cache_bytes;
                   "cache_shared_hits", "pairs that the shared tier held and the first tier did not", self.cache_shared_hits;
                   "cache_shared_misses", "pairs that no tier held", self.cache_shared_misses;
                   "cache_shared_failures", "exchanges with the shared tier that failed, by reason", self.cache_shared_failures;
                   "cache_shared_writes", "scores written to the shared tier", self.cache_shared_writes;
                   "cache_shared_dropped", "scores not written to the shared tier", self.cache_shared_dropped;
                   "cache_shared_up", "1 while the shared tier is asked", self.cache_shared_up;
                   "cache_snapshots", "snapshots, by what became of them", self.cache_snapshots;
                   "pairs_scored", "pairs that went through a forward pass", self.pairs_scored;
                   "documents_cut", "documents that did not fit and were cut", self.documents_cut;
                   "documents_empty", "documents without text, which rank last and were not scored", self.documents_empty;
                   "requests_warned", "requests with a parameter that is not supported, answered with a warning", self.requests_warned;
                   "forwards", "forward passes", self.forwards;
                   "tokens", "tokens of text in forward passes", self.tokens;
                   "padding_tokens", "padding in forward passes", self.padding_tokens;
                   "batch_pairs", "pairs in one forward pass", self.batch_pairs;
                   "queue_tokens", "estimated tokens admitted and not yet scored", self.queue_tokens;
                   "queue_limit_tokens", "estimated tokens that may wait before new work is refused", self.queue_limit_tokens;
                   "drain_tokens_per_second", "estimated tokens a second that workers do, lately", self.drain_tokens_per_second;
                   "worker_busy_microseconds", "time in forward passes, by worker", self.worker_busy_microseconds;
                   "workers_alive", "workers that can take work", self.workers_alive;
        "workers_left_behind", "threads of workers that hung and were replaced", self.workers_left_behind;
                   "worker_faults", "what went wrong in workers, by reason", self.worker_faults;
                   "forwards_stopped", "forward passes that were asked to stop, by reason", self.forwards_stopped;
                   "accelerator_detours", "batches that went another way because the best one failed", self.accelerator_detours;
                   "accelerator_refused", "ways of accelerators that are not used", self.accelerator_refused;
                   "refusals", "requests refused before any work, by reason", self.refusals;
            "pair_failures", "pairs that failed, by reason", self.pair_failures;
                   "trace_spans", "spans, by what became of them on their way out", self.trace_spans;
                   "process_resident_memory_bytes", "resident memory of the process", self.resident_bytes;
               }
    }

    /// What is kept per model.
    fn declare_by_model(&self, r: &mut Registry) {
        declare! { r,
            "model_requests", "requests answered, by model", self.model_requests;
            "model_pairs", "pairs of answered requests, by model", self.model_pairs;
            "model_cached_pairs", "pairs of answered requests that the cache answered, by model", self.model_cached_pairs;
            "model_tokens", "tokens of answered requests, by model", self.model_tokens;
            "model_inference_work_microseconds", "forward passes that a model's requests took part in, summed over workers", self.model_inference_work_microseconds;
            "model_queue_tokens", "estimated tokens admitted and not yet scored, by model", self.model_queue_tokens;
            "model_queue_limit_tokens", "estimated tokens that may wait, by model", self.model_queue_limit_tokens;
            "model_weight", "share of forward passes while other models have work too", self.model_weight;
            "model_refusals", "requests refused before any work, by model and reason", self.model_refusals;
            "model_changes", "models loaded, unloaded, found unchanged or refused while serving", self.model_changes;
            "models_moved", "models that answer from the CPU because their accelerator was lost", self.models_moved;
        }
    }

    /// The figures in Prometheus' text format 0.0.4.
    pub fn render_text(&self) -> String {
        exposition::to_text(&self.render())
    }

    /// The figures in `OpenMetrics` 1.0.0, with exemplars.
    pub fn render(&self) -> String {
        if let Some(memory) = memory_stats::memory_stats() {
            self.resident_bytes.set(i64::try_from(memory.physical_mem).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        // Writing into a `String` cannot fail; an empty page would be seen by every scraper.
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap_or_default();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_carries_help_and_values() {
        let metrics = Metrics::new();
        metrics.requests.get_or_create(&Answered::new("cohere", 200)).inc();
        let page = metrics.render();
        assert!(
            page.contains("rescored_requests_total{dialect=\"cohere\",face=\"cohere\",status=\"200\"} 1"),
            "{page}"
        );
        assert!(page.contains("# HELP rescored_cache_hits"), "{page}");
    }
}
