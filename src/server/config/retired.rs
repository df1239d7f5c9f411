//! Names that the table once had: accepted, with a warning that says what to do.
//!
//! Owns the list and the sentences. It must not know how a value is parsed.

use super::settings::{GRAPH, MODEL_WEIGHTS};

/// A name that is no longer in the table.
pub(super) struct Retired {
    /// The full name.
    pub(super) name: &'static str,
    /// Where its value goes when the setting of now is not given as well; `None` where it has no effect any more.
    pub(super) successor: Option<Successor>,
    /// What holds now: the end of the warning.
    now: &'static str,
}

/// The setting that took the place of a retired one.
pub(super) struct Successor {
    /// Its full name.
    pub(super) name: &'static str,
    /// The value there that means the same; `None` for what is the default there.
    pub(super) value: fn(&str) -> Option<String>,
}

/// Every retired name. One is removed a release after it was retired, and CHANGELOG.md says so.
pub(super) const ALL: [Retired; 4] = [
    Retired {
        name: "RESCORED_CACHE_WEIGHTS",
        successor: Some(Successor { name: MODEL_WEIGHTS.name, value: |text| Some(text.to_owned()) }),
        now: "RESCORED_MODEL_WEIGHTS shares forward passes, the queue and the score cache",
    },
    Retired {
        name: "RESCORED_COREML_CACHE",
        successor: None,
        now: "what CoreML compiles lies beside the model's graphs",
    },
    Retired {
        name: "RESCORED_MAX_TEXT",
        successor: None,
        now: "the limit of one text is 4 MiB, and RESCORED_MAX_BODY bounds all of a request",
    },
    Retired {
        name: "RESCORED_SHAPES",
        successor: Some(Successor {
            name: GRAPH.name,
            value: |text| text.eq_ignore_ascii_case("served").then(|| "shape".to_owned()),
        }),
        now: "RESCORED_GRAPH=shape serves models that were cut to a shape",
    },
];

/// The retired setting of this name.
pub(super) fn find(name: &str) -> Option<&'static Retired> {
    const { &ALL }.iter().find(|retired| retired.name == name)
}

impl Retired {
    /// What an operator is to know of a name that is still in use. `is_heard` says whether its value has an effect.
    pub(super) fn warning(&self, is_heard: bool) -> String {
        let effect = if is_heard { "is taken for now" } else { "has no effect" };
        format!("{}: this setting was retired and {effect}; {}; remove it", self.name, self.now)
    }
}
