//! Stands before every handler: refuses foreign requests, answers browsers that ask beforehand, adds CORS headers.
//!
//! Owns which paths are for everybody. Who is foreign is `access`'s to say. It must not know what a request asks for.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpResponse, web};

use super::access::Arrival;
use super::answer;
use super::error::ApiError;
use super::state::AppState;

/// Headers of answers that a page of an allowed origin may read beside the usual ones.
const EXPOSED: &str = "x-request-id, retry-after, server-timing, x-rescored-cache-hits, x-rescored-partial, \
                       x-rescored-truncated, x-rescored-truncated-documents, x-rescored-warnings, x-rescored-hits, \
                       x-rescored-missing-fields, x-rescored-outweighed, x-rescored-search-after, \
                       x-rescored-search-after-hit, x-compute-tokens, \
                       x-total-time, x-tokenization-time, x-queue-time, x-inference-time";

/// Whether a request only reads what is for everybody.
fn is_for_everybody(method: &Method, path: &str) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    reads && !path.starts_with("/v1/cache") && !path.starts_with("/v2/repository") && path != "/ui/live"
}

/// Lets requests through that may go on, and answers browsers that ask beforehand.
pub(super) async fn check(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let Some(state) = request.app_data::<web::Data<AppState>>().cloned() else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let (access, headers) = (&state.access, request.headers());
    let listed = access.listed(headers);
    let asks_beforehand = request.method() == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let outcome = if is_for_everybody(request.method(), request.path()) {
        Ok(())
    } else {
        let arrival = request.conn_data::<Arrival>().copied().unwrap_or(Arrival::Tcp(None));
        let is_known = state.keys.are_asked_for() && state.keys.admit(headers).is_ok();
        access.admit(headers, request.uri(), is_known, arrival)
    };
    let mut response = match outcome {
        Err(foreign) => {
            let refusal = ApiError::Foreign { header: foreign.header, value: foreign.value, setting: foreign.setting };
            refused(&mut request, refusal).await
        }
        Ok(()) if asks_beforehand && listed.is_some() => {
            let answer = preflight(request.headers());
            request.into_response(answer)
        }
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
    };
    if state.access.lists_origins() {
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = listed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
    Ok(response)
}

/// The one error body, once what is left of the request's was read.
async fn refused(request: &mut ServiceRequest, refusal: ApiError) -> ServiceResponse<BoxBody> {
    let (parts, payload) = request.parts_mut();
    let parts = parts.clone();
    let response = match web::Payload::from_request(&parts, payload).await {
        Ok(payload) => answer::plain("none", parts.clone(), payload, move |_, _| Err(refusal.clone())).await,
        Err(_) => refusal.response(),
    };
    ServiceResponse::new(parts, response)
}

/// What a browser wants to hear before it lets an allowed page ask.
fn preflight(headers: &HeaderMap) -> HttpResponse {
    const PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
    let mut response = HttpResponse::NoContent();
    response
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, DELETE"))
        .insert_header((
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, traceparent, tracestate, x-request-id, x-request-timeout-ms",
        ))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "600"));
    if headers.contains_key(PRIVATE_NETWORK) {
        response.insert_header(("access-control-allow-private-network", "true"));
    }
    response.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_by_everybody_is_not_what_changes_or_costs() {
        for (method, path, expected) in [
            (Method::GET, "/metrics", true),
            (Method::HEAD, "/readyz", true),
            (Method::GET, "/ui/main.js", true),
            (Method::GET, "/openapi.json", true),
            (Method::GET, "/v1/cache", false),
            (Method::GET, "/ui/live", false),
            (Method::DELETE, "/v1/cache", false),
            (Method::POST, "/v1/rerank", false),
            (Method::POST, "/metrics", false),
            (Method::OPTIONS, "/v1/rerank", false),
        ] {
            assert_eq!(is_for_everybody(&method, path), expected, "{method} {path}");
        }
    }
}
