//! The model that a request's path names.
//!
//! Owns the decoding of that name: the router leaves `%2F`, `%25` and `%2B` as they came, so that they part no path, and
//! names of repositories hold a slash. It must not know which models there are.

use std::borrow::Cow;

use actix_web::HttpRequest;

/// What stands in the path for `{model}`, decoded; `None` where the route names no model.
pub(super) fn model(request: &HttpRequest) -> Option<Cow<'_, str>> {
    request.match_info().get("model").map(decoded)
}

fn decoded(name: &str) -> Cow<'_, str> {
    if !name.contains('%') {
        return name.into();
    }
    let plain = name.replace("%2F", "/").replace("%2f", "/").replace("%2B", "+").replace("%2b", "+");
    plain.replace("%25", "%").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_that_was_encoded_is_a_part_of_the_name() {
        for (given, name) in
            [("m", "m"), ("us%2Fm", "us/m"), ("us%2fm", "us/m"), ("a%2Bb", "a+b"), ("a%252Fb", "a%2Fb")]
        {
            assert_eq!(decoded(given), name, "{given}");
        }
    }
}
