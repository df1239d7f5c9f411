//! `POST /v1/cache/warm`: lines of `{"query", "documents"}` in, scores into the cache, lines of progress out.
//!
//! Owns one stream's course: a few lines at a time go through the engine, below all live work; the body is read no faster
//! than that. A line at fault is reported by its number and stops nothing. The connection ends with the stream. It must
//! not know how scores are kept.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse, web};
use rescored_core::domain::Priority;
use rescored_process::budget::{LONGEST_WAIT, Reservation};
use rescored_process::health::Readiness;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::lines::{End, Line, Lines, patiently};
use super::progress::Progress;
use crate::http::answer::{admit, within};
use crate::http::body::{self, INLINE_BYTES};
use crate::http::connections::Busy;
use crate::http::cost;
use crate::http::dialect::{RequestLimits, RerankRequest, cohere};
use crate::http::error::{ApiError, RequestError};
use crate::http::instruction;
use crate::http::record::Record;
use crate::http::state::AppState;
use crate::http::structure::Structure;
use crate::http::warm_ups::{Place, STREAMS};
use crate::http::wire;
use crate::rerank::{Answer, Generation, Request, RerankError};

/// Lines of one stream in work: enough that workers do not wait for the next one.
const LINES: usize = 8;

/// How often progress is reported.
const EVERY: Duration = Duration::from_secs(1);

/// How long one line may take: it waits for as long as live work leaves it no room.
const PATIENCE: Duration = Duration::from_hours(1);

/// The longest pause before a line is offered again to a queue that is full.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Large lines are read one at a time, of all streams together: searches have bodies to read, too.
static READING: Semaphore = Semaphore::const_new(1);

/// What may stand behind the question mark.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Terms {
    /// Lines to pass over: how far an earlier stream came.
    #[serde(default)]
    skip: u64,
}

/// The answer's body: whatever the stream's task sends.
struct ProgressBody(mpsc::Receiver<Vec<u8>>);

impl MessageBody for ProgressBody {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Bytes::from(line))))
    }
}

/// Answers a stream while it is read.
pub(super) async fn warm(request: HttpRequest, payload: Payload) -> HttpResponse {
    let Some(state) = request.app_data::<web::Data<AppState>>().cloned() else {
        return ApiError::Internal.response();
    };
    let record = Record::new("warm", request.headers());
    let outcome = begin(&state, &request, payload);
    record.finish(outcome, &state.metrics)
}

fn begin(state: &web::Data<AppState>, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    state.keys.admit(request.headers())?;
    let readiness = state.health.readiness();
    // A job may be asked to come back; a search may not.
    if readiness == Readiness::Draining {
        return Err(ApiError::NotReady { word: readiness.word() });
    }
    admit(readiness)?;
    body::admit_encoding(request.headers())?;
    body::admit_type(request.headers(), is_lines, "content-type: application/x-ndjson")?;
    let terms = web::Query::<Terms>::from_query(request.query_string());
    let wrong =
        |_| RequestError::field("query string", "not understood; send nothing, or `skip=` and a number of lines");
    let Terms { skip } = terms.map_err(wrong)?.into_inner();
    let busy = ApiError::Busy { what: "warm-up streams", limit: STREAMS };
    let place = state.warm_ups.take().ok_or(busy)?;
    let (reports, reported) = mpsc::channel(16);
    let stream = Stream {
        state: state.clone(),
        lines: Lines::new(payload, state),
        progress: Progress::new(),
        reports,
        skip,
        _place: place,
        _busy: Busy::with(request),
    };
    actix_web::rt::spawn(stream.run());
    Ok(HttpResponse::Ok().content_type("application/x-ndjson").force_close().body(ProgressBody(reported)))
}

/// JSON, or lines of it under any of its names.
fn is_lines(content_type: &str) -> bool {
    const NAMES: [&str; 6] = [
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/jsonlines",
        "application/x-jsonl",
    ];
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    body::is_json(content_type) || NAMES.iter().any(|name| name.eq_ignore_ascii_case(essence))
}

struct Stream {
    state: web::Data<AppState>,
    lines: Lines,
    progress: Progress,
    reports: mpsc::Sender<Vec<u8>>,
    skip: u64,
    _place: Place,
    _busy: Option<Busy>,
}

/// What came of one line.
struct Done {
    line: u64,
    outcome: Result<Answer, ApiError>,
}

impl Stream {
    async fn run(mut self) {
        let reports = self.reports.clone();
        tokio::select! {
            // The caller went away: what was left to do for it is given up with its tasks.
            () = reports.closed() => tracing::info!(lines = self.progress.through(), "warm-up given up by its caller"),
            complete = self.work() => {
                let (pairs, hits, failed) = self.progress.counts();
                tracing::info!(lines = self.progress.through(), pairs, hits, failed, complete, "warm-up over");
                // A caller that is gone now has missed nothing but this.
                let _ = self.reports.send(self.progress.summary(complete)).await;
            }
        }
    }

    /// Whether the stream was read to its end.
    async fn work(&mut self) -> bool {
        let mut tasks: JoinSet<Done> = JoinSet::new();
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        let mut end = None;
        while end.is_none() || !tasks.is_empty() {
            let room = end.is_none() && tasks.len() < LINES;
            tokio::select! {
                line = self.lines.next(), if room => match line {
                    Ok(line) => self.begin(line, &mut tasks).await,
                    Err(why) => {
                        self.progress.pass(self.lines.number);
                        end = Some(why);
                    }
                },
                Some(done) = tasks.join_next(), if !tasks.is_empty() => self.settle(done.ok()).await,
                _ = tick.tick() => {
                    // Progress that is not read now is not worth waiting for.
                    let _ = self.reports.try_send(self.progress.line());
                    if self.state.health.readiness() == Readiness::Draining {
                        end.get_or_insert(End::Broken);
                    }
                }
            }
            self.progress.bytes = self.lines.bytes;
        }
        end == Some(End::Over)
    }

    async fn begin(&mut self, line: Line, tasks: &mut JoinSet<Done>) {
        let number = self.lines.number;
        match line {
            _ if number <= self.skip => self.progress.skip(number),
            Line::TooLong => {
                let limit = self.state.max_body;
                self.fail(number, &RequestError::BodyTooLarge { limit }.into()).await;
            }
            Line::NoMemory(denied) => self.fail(number, &denied.into()).await,
            Line::Whole(bytes, memory) => {
                self.progress.begin(number);
                let state = self.state.clone();
                let scoring = async move { Done { line: number, outcome: scored(&state, bytes, memory).await } };
                tasks.spawn_local(scoring);
            }
        }
    }

    async fn settle(&mut self, done: Option<Done>) {
        // A task that panicked says nothing of its line; the line stays under way, so a resumed stream brings it again.
        let Some(Done { line, outcome }) = done else { return };
        match outcome {
            Ok(answer) => self.progress.finish(line, answer.scored.len(), answer.stats.cached),
            Err(refusal) => self.fail(line, &refusal).await,
        }
    }

    async fn fail(&mut self, line: u64, refusal: &ApiError) {
        if let Some(reported) = self.progress.fail(line, &refusal.to_string()) {
            // Nobody reads: `run` notices.
            let _ = self.reports.send(reported).await;
        }
    }
}

async fn scored(state: &AppState, line: Vec<u8>, mut memory: Reservation) -> Result<Answer, ApiError> {
    let limits = state.limits;
    let is_large = line.len() > INLINE_BYTES;
    let reading = if is_large { READING.acquire().await.ok() } else { None };
    let (line, structure) = if is_large { counted(line).await? } else { (line, 0) };
    let until = Instant::now() + LONGEST_WAIT;
    patiently(&mut memory, 2 * line.len() as u64 + structure, until).await?;
    let mut rerank_request = if is_large {
        web::block(move || read(&line, limits)).await.map_err(|_| ApiError::Internal)??
    } else {
        read(&line, limits)?
    };
    drop(reading);
    let held = cost::of_work(&rerank_request.texts) + rerank_request.texts.bytes() as u64;
    memory.shrink(held);
    patiently(&mut memory, held, until).await?;
    let now = state.reranker.now();
    let card = now.model(rerank_request.model.as_deref())?;
    instruction::settle(&mut rerank_request, card)?;
    state.admit_unread(&rerank_request.unread)?;
    state.metrics.requests_warned.inc_by(u64::from(!rerank_request.unread.is_empty()));
    let request = Request {
        model: rerank_request.model.as_deref(),
        texts: &rerank_request.texts,
        cut: within(rerank_request.cut, card.max_length),
        refuse_cut: rerank_request.refuse_cut,
        deadline: Instant::now() + PATIENCE,
        priority: Priority::WarmUp,
        memory: Some(Arc::new(memory)),
        empty: state.leniency.empty_documents,
    };
    loop {
        match offer(&now, &request).await {
            Err(RerankError::Overloaded { retry_after, .. }) => {
                tokio::time::sleep(retry_after.min(LONGEST_PAUSE)).await;
            }
            Err(RerankError::Memory) => tokio::time::sleep(LONGEST_PAUSE).await,
            other => return Ok(other?),
        }
    }
}

/// A line, and the memory that its structure may take; counted elsewhere, for it takes a while.
async fn counted(line: Vec<u8>) -> Result<(Vec<u8>, u64), ApiError> {
    let count = move || {
        let mut structure = Structure::default();
        structure.read(&line);
        (line, structure.bytes())
    };
    web::block(count).await.map_err(|_| ApiError::Internal)
}

fn offer<'a>(now: &'a Generation, request: &Request<'a>) -> impl Future<Output = Result<Answer, RerankError>> + 'a {
    now.score(request.clone())
}

/// A line is a body that `POST /v1/rerank` takes, so that it means the same pairs.
fn read(line: &[u8], limits: RequestLimits) -> Result<RerankRequest<'static>, RequestError> {
    let mut spare = Vec::new();
    wire::forgiving(line, &mut spare, |line| (cohere::DIALECT.read)(line, limits)).map(RerankRequest::into_owned)
}
