//! The page at `/ui`: a playground and a live view, served from this binary's own bytes.
//!
//! - `live`: what the page asks of the last minutes.
//!
//! Owns the page's files, their headers and their routes. The files load without a key and hold no data; what they ask
//! for goes through the same doors as everybody's requests. It must not know how scores or figures come about.

mod live;

use std::hash::{DefaultHasher, Hasher};
use std::sync::LazyLock;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, guard, web};

use super::answer::{self, wrong_method};
use super::error::ApiError;
use super::state::AppState;

/// Only what this process serves may run, be shown or be asked for; nothing may frame the page, and no text becomes
/// markup (`trusted-types`).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// One file of the page.
#[derive(Debug)]
struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Every file of the page. Scripts name each other by relative addresses, so that the page works behind a prefix too.
static FILES: &[File] = &[
    File { path: "/ui", kind: HTML, text: include_str!("ui/index.html") },
    File { path: "/ui/style.css", kind: CSS, text: include_str!("ui/style.css") },
    File { path: "/ui/icon.svg", kind: SVG, text: include_str!("ui/icon.svg") },
    File { path: "/ui/main.js", kind: SCRIPT, text: include_str!("ui/main.js") },
    File { path: "/ui/dom.js", kind: SCRIPT, text: include_str!("ui/dom.js") },
    File { path: "/ui/server.js", kind: SCRIPT, text: include_str!("ui/server.js") },
    File { path: "/ui/request.js", kind: SCRIPT, text: include_str!("ui/request.js") },
    File { path: "/ui/ranking.js", kind: SCRIPT, text: include_str!("ui/ranking.js") },
    File { path: "/ui/playground.js", kind: SCRIPT, text: include_str!("ui/playground.js") },
    File { path: "/ui/results.js", kind: SCRIPT, text: include_str!("ui/results.js") },
    File { path: "/ui/live.js", kind: SCRIPT, text: include_str!("ui/live.js") },
    File { path: "/ui/chart.js", kind: SCRIPT, text: include_str!("ui/chart.js") },
    File { path: "/ui/examples.js", kind: SCRIPT, text: include_str!("ui/examples.js") },
];

/// Entity tags, in the order of [`FILES`].
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| FILES.iter().map(|file| tag(file.text)).collect());

/// Adds the routes; figures only where this server has them.
pub(super) fn routes(config: &mut web::ServiceConfig, with_figures: bool) {
    for (position, file) in FILES.iter().enumerate() {
        let file_of = move |_: &AppState, request: &HttpRequest| Ok(serve(file, &TAGS[position], request));
        reading(config, file.path, file_of);
    }
    // A trailing slash would break the page's relative addresses.
    reading(config, "/ui/", |_, _| {
        Ok(HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "../ui")).finish())
    });
    if with_figures {
        reading(config, "/ui/live", live::show);
    }
}

/// Adds a path that is only read.
fn reading(
    config: &mut web::ServiceConfig,
    path: &'static str,
    read: impl Fn(&AppState, &HttpRequest) -> Result<HttpResponse, ApiError> + Copy + 'static,
) {
    let reads = guard::Any(guard::Get()).or(guard::Head());
    let handler = web::route().guard(reads).to(move |request, payload| answer::plain("ui", request, payload, read));
    let wrong = web::to(|request, payload| wrong_method(request, payload, "GET, HEAD"));
    config.service(web::resource(path).route(handler).default_service(wrong));
}

/// The file, or word that the caller's copy is still right.
fn serve(file: &File, tag: &str, request: &HttpRequest) -> HttpResponse {
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let fresh = known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag));
    let mut response = if fresh { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::ETAG, tag))
        // Kept, and asked about before use: a new binary's page is never mixed with an old one's scripts.
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::X_FRAME_OPTIONS, "DENY"))
        .insert_header((header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .insert_header((header::CONTENT_TYPE, HeaderValue::from_static(file.kind)));
    if fresh { response.finish() } else { response.body(file.text) }
}

/// Names a content; the same content has the same name in every process of a build.
fn tag(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of files that a text refers to, relative to `/ui/`.
    fn named(text: &str) -> Vec<&str> {
        let after = |start: &'static str| {
            text.split(start).skip(1).filter_map(|rest| rest.split(['"', '\'']).next()).collect::<Vec<_>>()
        };
        [after("from \"./"), after("src=\"ui/"), after("href=\"ui/")].concat()
    }

    #[test]
    fn every_file_that_the_page_names_is_served() {
        let mut seen = 0;
        for file in FILES {
            for name in named(file.text) {
                let path = format!("/ui/{name}");
                assert!(FILES.iter().any(|other| other.path == path), "{} names {path}", file.path);
                seen += 1;
            }
        }
        assert!(seen >= FILES.len() - 2, "only {seen} names are seen");
    }

    #[test]
    fn the_page_asks_nobody_else() {
        for file in FILES {
            for scheme in ["http://", "https://", "//cdn", "@import", ": url(", ":url("] {
                let outside = file.text.matches(scheme).count();
                // The namespace of SVG is a name, not an address.
                let names = file.text.matches("http://www.w3.org/2000/svg").count();
                let allowed = if scheme == "http://" { names } else { 0 };
                assert_eq!(outside, allowed, "{} holds {scheme}", file.path);
            }
        }
    }

    #[test]
    fn markup_is_never_made_of_texts() {
        for file in FILES {
            for way in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=\"", " onclick="]
            {
                assert!(!file.text.contains(way), "{} uses {way}", file.path);
            }
        }
    }

    #[test]
    fn different_contents_have_different_tags() {
        assert_eq!(tag("a"), tag("a"));
        let mut tags = TAGS.clone();
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), FILES.len());
    }
}
