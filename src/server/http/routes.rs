//! Paths and methods: which handler answers what.
//!
//! Owns the way from the tables of dialects, engines and operations to actix-web's routes. It must not know what any of
//! them does.

use actix_web::http::Method;
use actix_web::{HttpRequest, guard, web};

use super::answer::wrong_method;
use super::dialect::DIALECTS;
use super::error::{RequestError, printable};
use super::operations::Operation;
use super::options::Ui;
use super::{answer, cache, openapi, repository, rescore, ui};

/// What a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// Everything.
    All,
    /// Everything but figures, which another server has.
    AllButFigures,
    /// Operations alone.
    Operations,
}

/// Adds what a server serves.
pub(super) fn routes(config: &mut web::ServiceConfig, served: Served, page: Ui) {
    operations(config, served);
    if served != Served::Operations {
        scores(config);
        if page == Ui::On {
            ui::routes(config, served == Served::All);
        }
    }
    config.default_service(web::to(unknown_path));
}

fn scores(config: &mut web::ServiceConfig) {
    for dialect in DIALECTS {
        for path in dialect.paths {
            let handler = move |request, payload| answer::dialect(dialect, request, payload);
            let resource = web::resource(*path).route(web::post().to(handler));
            config
                .service(resource.default_service(web::to(|request, payload| wrong_method(request, payload, "POST"))));
        }
    }
    for route in rescore::ROUTES {
        let handler = move |request, payload| rescore::rescore(route, request, payload);
        let resource = web::resource(route.path).route(web::post().to(handler));
        config.service(resource.default_service(web::to(|request, payload| wrong_method(request, payload, "POST"))));
    }
    cache::routes(config);
    repository::routes(config);
}

fn operations(config: &mut web::ServiceConfig, served: Served) {
    let here = |operation: &&Operation| served != Served::AllButFigures || operation.name != "metrics";
    for operation in openapi::operations().filter(here) {
        for path in operation.paths {
            let handler = move |request, payload| answer::plain(operation.name, request, payload, operation.answer);
            let reading = guard::Any(guard::Get()).or(guard::Method(Method::HEAD));
            let resource = web::resource(*path).route(web::route().guard(reading).to(handler));
            config.service(
                resource.default_service(web::to(|request, payload| wrong_method(request, payload, "GET, HEAD"))),
            );
        }
    }
}

async fn unknown_path(request: HttpRequest, payload: web::Payload) -> actix_web::HttpResponse {
    answer::plain("none", request, payload, |_, request| {
        Err(RequestError::Path { path: printable(request.path()) }.into())
    })
    .await
}
