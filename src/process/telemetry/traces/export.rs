//! The way of spans out of the process: a bounded queue, a thread, protobuf over HTTP.
//!
//! Owns the bound and the counting. A full queue drops, a receiver that fails loses a batch, a slow one is given up; no
//! request waits for any of it, and each span is counted once: sent, failed or dropped. It must not know what spans say.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter as Otlp, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};

use crate::metrics::{Metrics, Outcome};

/// Spans on their way at most: a second or two of a busy server, a few MiB.
const LIMIT: usize = 4096;

/// Spans of one batch at most.
const BATCH: usize = 512;

/// How long a span waits for company.
const DELAY: Duration = Duration::from_secs(1);

/// How long the receiver may take for one batch.
const PATIENCE: Duration = Duration::from_secs(3);

/// An answer of the receiver is a few bytes; more is none.
const LONGEST_ANSWER: u64 = 64 << 10;

/// Keeps spans until they are sent, and no more than [`LIMIT`] of them.
pub(super) fn processor(
    address: &str,
    metrics: &Arc<Metrics>,
) -> Result<impl SpanProcessor + use<>, ExporterBuildError> {
    let otlp = Otlp::builder()
        .with_http()
        .with_http_client(Client::new())
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(address)
        .with_timeout(PATIENCE)
        .build()?;
    let counters = Arc::new(ExportCounters {
        waiting: AtomicUsize::new(0),
        failing: AtomicBool::new(false),
        metrics: Arc::clone(metrics),
    });
    let counted = Counted { otlp, counters: Arc::clone(&counters) };
    // Everything is set, so that nothing is read from the environment. The queue is ours to bound: this one is larger.
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(LIMIT * 2)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    let batches = BatchSpanProcessor::builder(counted).with_batch_config(config).build();
    Ok(Bounded { batches, counters })
}

/// What became of spans.
#[derive(Debug)]
struct ExportCounters {
    waiting: AtomicUsize,
    /// Whether the last batch failed: a change is worth a line, each failure is not.
    failing: AtomicBool,
    metrics: Arc<Metrics>,
}

impl ExportCounters {
    fn count(&self, outcome: &'static str, spans: usize) {
        self.metrics.trace_spans.get_or_create(&Outcome { outcome }).inc_by(spans as u64);
    }
}

/// Lets in what there is room for.
#[derive(Debug)]
struct Bounded {
    batches: BatchSpanProcessor,
    counters: Arc<ExportCounters>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        let room = |waiting: usize| (waiting < LIMIT).then_some(waiting + 1);
        if self.counters.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok() {
            self.batches.on_end(span);
        } else {
            self.counters.count("dropped", 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Counts what the exporter made of each batch.
#[derive(Debug)]
struct Counted {
    otlp: Otlp,
    counters: Arc<ExportCounters>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let outcome = self.otlp.export(batch).await;
        self.counters.waiting.fetch_sub(spans, Ordering::Relaxed);
        self.counters.count(if outcome.is_ok() { "sent" } else { "failed" }, spans);
        let failed_before = self.counters.failing.swap(outcome.is_err(), Ordering::Relaxed);
        match &outcome {
            Err(error) if !failed_before => tracing::warn!(%error, "traces cannot be sent; requests are not affected"),
            Ok(()) if failed_before => tracing::info!("traces are sent again"),
            Ok(()) | Err(_) => {}
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}

/// Sends from the exporter's own thread, which may wait.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Client {
    fn new() -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false);
        Self(config.build().into())
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let answer = self.0.run(Request::from_parts(head, body.to_vec()))?;
        let (head, mut body) = answer.into_parts();
        let bytes = body.with_config().limit(LONGEST_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(head, bytes.into()))
    }
}

impl HttpClient for Client {
    // What `async_trait` makes of the declaration.
    fn send_bytes<'client, 'answer>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'answer>>
    where
        'client: 'answer,
        Self: 'answer,
    {
        Box::pin(async move { self.send(request) })
    }
}
