//! Traces: a request's stages as spans, sent by OTLP over HTTP in the background.
//!
//! - `export`: the way out, bounded and counted.
//!
//! Owns the tracer, the reading of W3C trace context, and the rule of who is traced: a caller that decided already is
//! obeyed, of the others a share is taken. Spans are made when their times are known, from instants that threads noted,
//! so nothing is entered or held across threads; while traces are off, a request costs one look at an `Option`. What is
//! noted must hold no text of a caller. It must not know what the stages are.

mod export;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span as _, SpanContext, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span};

use super::options::TraceOptions;
use crate::metrics::Metrics;

pub use opentelemetry::Value;

/// Traces cannot be sent as asked.
#[derive(Debug, thiserror::Error)]
#[error("RESCORED_OTLP_ENDPOINT: no exporter for `{endpoint}`; write `http://host:4318`")]
pub struct TracesError {
    endpoint: String,
    #[source]
    source: opentelemetry_otlp::ExporterBuildError,
}

/// Starts traces; cheap to copy, and nothing at all while they are off.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Running>>);

struct Running {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// The trace context that a caller sent, as it stood in its headers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried<'h> {
    /// `traceparent`.
    pub parent: Option<&'h str>,
    /// `tracestate`.
    pub state: Option<&'h str>,
}

/// A request that is traced. Dropped before [`Trace::finish`], it is reported as one whose caller went away.
pub struct Trace {
    running: Arc<Running>,
    root: Span,
    /// One moment on both clocks.
    begun: (Instant, SystemTime),
    finished: bool,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traces").field(&self.0.is_some()).finish()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Extractor for Carried<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.parent,
            "tracestate" => self.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

impl Traces {
    /// Starts the exporter, if an endpoint is named. Nobody waits for it: what cannot be sent is counted and forgotten.
    ///
    /// # Errors
    /// [`TracesError`] when the endpoint is none.
    pub fn start(options: &TraceOptions, metrics: &Arc<Metrics>) -> Result<Self, TracesError> {
        let Some(endpoint) = &options.endpoint else { return Ok(Self::default()) };
        let address = TraceOptions::address(endpoint);
        let processor = export::processor(&address, metrics)
            .map_err(|source| TracesError { endpoint: endpoint.clone(), source })?;
        let sampler = Sampler::ParentBased(Box::new(match options.percent {
            100.. => Sampler::AlwaysOn,
            percent => Sampler::TraceIdRatioBased(f64::from(percent) / 100.0),
        }));
        let resource = Resource::builder()
            .with_service_name(rescored_core::NAME)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(sampler)
            .with_resource(resource)
            .build();
        let tracer = provider.tracer(rescored_core::NAME);
        Ok(Self(Some(Arc::new(Running { provider, tracer }))))
    }

    /// Whether anything is traced.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A request that came in at `begun`; `None` when it is not traced.
    pub fn begin(&self, begun: Instant, carried: Carried<'_>) -> Option<Trace> {
        let running = self.0.as_ref()?;
        let now = (Instant::now(), SystemTime::now());
        let started = now.1 - now.0.saturating_duration_since(begun);
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &carried);
        let builder = running.tracer.span_builder("request").with_kind(SpanKind::Server).with_start_time(started);
        let root = builder.start_with_context(&running.tracer, &parent);
        let traced = root.span_context().is_sampled();
        traced.then(|| Trace { running: Arc::clone(running), root, begun: (begun, started), finished: false })
    }

    /// Sends what is left, for so long at most. Blocks.
    pub fn stop(&self, patience: Duration) {
        if let Some(running) = &self.0
            && let Err(error) = running.provider.shutdown_with_timeout(patience)
        {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

impl Trace {
    /// The trace's name, as logs and exemplars give it.
    pub fn id(&self) -> String {
        self.context().trace_id().to_string()
    }

    /// The header `traceresponse` of the answer: this request's own place in the trace.
    pub fn response(&self) -> String {
        let context = self.context();
        format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8())
    }

    /// Notes something of the request. Never a text of the caller's.
    pub fn note(&mut self, name: &'static str, value: impl Into<Value>) {
        self.root.set_attribute(KeyValue::new(name, value));
    }

    /// A stage that is over.
    pub fn stage<const N: usize>(
        &self,
        name: &'static str,
        (begun, over): (Instant, Instant),
        reported: [(&'static str, Value); N],
    ) {
        let parent = Context::new().with_remote_span_context(self.context().clone());
        let tracer = &self.running.tracer;
        let reported = reported.into_iter().map(|(name, value)| KeyValue::new(name, value));
        let builder = tracer.span_builder(name).with_start_time(self.on_the_wall(begun)).with_attributes(reported);
        builder.start_with_context(tracer, &parent).end_with_timestamp(self.on_the_wall(over));
    }

    /// Ends the request's span; `failure` is why the server could not answer, when that is so.
    pub fn finish(mut self, name: String, failure: Option<String>) {
        self.root.update_name(name);
        if let Some(failure) = failure {
            self.root.set_status(Status::error(failure));
        }
        self.end();
    }

    fn end(&mut self) {
        self.finished = true;
        let now = self.on_the_wall(Instant::now());
        self.root.end_with_timestamp(now);
    }

    fn context(&self) -> &SpanContext {
        self.root.span_context()
    }

    fn on_the_wall(&self, instant: Instant) -> SystemTime {
        self.begun.1 + instant.saturating_duration_since(self.begun.0)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if !self.finished {
            self.root.set_attribute(KeyValue::new("error.type", "cancelled"));
            self.root.set_status(Status::error("the caller went away"));
            self.end();
        }
    }
}
