//! How much of the CPU's own product rate forwards reach.

use std::time::Instant;

use rescored_lab::bench::host::cores;
use rescored_lab::bench::python::Python;
use rescored_lab::bench::served::Program;
use rescored_lab::bench::texts::Request;

use super::report::spread;
use super::stage::Shape;
use super::texts::overlong;

/// Tokens of each pair.
const TOKENS: usize = 128;
/// The model's rows, and those of its feed-forward part.
const HIDDEN: f64 = 384.0;
const INNER: f64 = 1536.0;
/// Its heads of attention.
const HEADS: f64 = 12.0;

/// A line on fp32 forwards of pairs of 128 tokens as a share of a large product, which runs before and after them in every
/// round.
pub(crate) fn measure(
    program: &Program,
    python: &Python,
    shape: &Shape<'_>,
    requests: &[Request],
    rounds: usize,
) -> Result<String, String> {
    let mut product = python.start("sgemm.py", &[&cores().to_string()])?;
    product.ready()?;
    let mut settings = shape.served("fp32");
    settings.push(("RESCORED_MAX_LENGTH", TOKENS.to_string()));
    let server = program.serve(&settings)?;
    let requests: Vec<Request> = requests.iter().map(overlong).collect();
    let pairs = requests.iter().map(|request| request.documents.len()).sum::<usize>() as f64;
    let gflop = pairs * gflop(shape.layers.into(), TOKENS as f64);
    let [mut products, mut whole, mut forwards] = [const { Vec::new() }; 3];
    let product_rate = || -> Result<f64, String> {
        let answer = product.ask(&serde_json::json!({}))?;
        Ok(answer["gflop"].as_f64().unwrap_or(f64::NAN) / answer["seconds"].as_f64().unwrap_or(f64::NAN))
    };
    for round in 0..=rounds {
        // Before and after, since the processor's clock drifts: it is higher after a pause and lower under load.
        let first = product_rate()?;
        let busy = || server.metric("rescored_worker_busy_microseconds_total").map(|micros| micros / 1e6);
        let tokens = || server.metric("rescored_tokens_total");
        let (before, tokens_before, started) = (busy()?, tokens()?, Instant::now());
        for request in &requests {
            server.score(None, request)?;
        }
        let seconds = started.elapsed().as_secs_f64();
        let each = (tokens()? - tokens_before) / pairs;
        if (each - TOKENS as f64).abs() > 0.5 {
            return Err(format!("pairs had {each:.1} tokens, not {TOKENS}"));
        }
        let work = busy()? - before;
        let rate = f64::midpoint(first, product_rate()?);
        if round > 0 {
            products.push(rate);
            whole.push(gflop / seconds / rate);
            forwards.push(gflop / work * cores() as f64 / rate);
        }
    }
    let percent = |shares: &[f64]| {
        let [least, middle, most] = spread(shares).map(|share| share * 100.0);
        format!("{middle:.0} % ({least:.0} to {most:.0})")
    };
    Ok(format!(
        "{} layers, fp32, pairs of {TOKENS} tokens: {:.2} GFLOP a pair; a large product runs at {:.0} GFLOP/s on {} cores; \
         forwards reach {} of it while they run, requests over HTTP {}",
        shape.layers,
        gflop / pairs,
        spread(&products)[1],
        cores(),
        percent(&forwards),
        percent(&whole),
    ))
}

/// What the products of one pair need, in units of 1e9 operations: all layers but the last for every token, the last one
/// and the head for the first, whose query meets the key weights, a head each, and then every token's row; what comes of
/// these meets the value weights.
fn gflop(layers: f64, tokens: f64) -> f64 {
    let product = |rows: f64, inner: f64, columns: f64| 2.0 * rows * inner * columns;
    let attention = |rows: f64| 2.0 * product(rows, HIDDEN, tokens);
    let after = |rows: f64| product(rows, HIDDEN, HIDDEN) + 2.0 * product(rows, HIDDEN, INNER);
    let layer = 3.0 * product(tokens, HIDDEN, HIDDEN) + attention(tokens) + after(tokens);
    let last = 3.0 * product(1.0, HIDDEN, HIDDEN) + 2.0 * product(HEADS, HIDDEN, tokens) + after(1.0);
    let head = product(1.0, HIDDEN, HIDDEN) + product(1.0, HIDDEN, 1.0);
    ((layers - 1.0) * layer + last + head) / 1e9
}
