//! Settings that name models: weights and aliases.

use super::*;

#[test]
fn weights_are_of_models_that_are_served_each_named_once() {
    let models = ("RESCORED_MODELS", "a,/opt/models/b");
    let weights = |text| read(&[models, ("RESCORED_MODEL_WEIGHTS", text)]).expect("valid").engine.weights;
    assert_eq!(weights("a=3, b=1"), [("a".to_owned(), 3), ("b".to_owned(), 1)]);
    assert_eq!(weights("even"), []);
    let name = "RESCORED_MODEL_WEIGHTS";
    let valid = "valid: `model=weight` pairs, comma-separated, weights from 1 to 1000000, or `even` (all models alike)";
    for (text, fault) in [
        ("c=2", format!("{name}: `c` is none of RESCORED_MODELS; name one of `a`, `b`, or add it to RESCORED_MODELS")),
        ("a=0", format!("{name}: `a=0` is too small; {valid}")),
        ("a=1,a=2", format!("{name}: `a=1,a=2` names `a` twice; {valid}; keep one")),
        ("a", format!("{name}: `a` has an item that is no weight; {valid}; write `model=3,other=1`")),
    ] {
        assert_eq!(faults(&[models, (name, text)]), [fault]);
    }
    // The queue left to us has room for each.
    assert_eq!(read(&[models]).expect("valid").engine.queue_tokens, 16_000_000);
}

// Case D9.
#[test]
fn aliases_are_of_models_that_are_served_and_no_models_themselves() {
    let models = ("RESCORED_MODELS", "a,/opt/models/b,/hub/models--us--ours/snapshots/0123");
    let aliases = |text| read(&[models, ("RESCORED_ALIASES", text)]).expect("valid").aliases;
    let pair = |alias: &str, model: &str| (alias.to_owned(), model.to_owned());
    assert_eq!(
        aliases("rerank-v3.5 = a, cohere.rerank-v3-5:0=b,x=y=ours"),
        [pair("rerank-v3.5", "a"), pair("cohere.rerank-v3-5:0", "b"), pair("x=y", "ours")]
    );
    assert_eq!(aliases("none"), []);
    let name = "RESCORED_ALIASES";
    let valid = "valid: `alias=model` pairs, comma-separated, models of `RESCORED_MODELS` by their ids, no alias twice, \
                 or `none` (models go by their own names)";
    let form = "write `rerank-v3.5=model`";
    for (text, fault) in [
        (
            "x=c",
            format!(
                "{name}: `c` is none of RESCORED_MODELS; name one of `a`, `b`, `ours`, or add it to RESCORED_MODELS"
            ),
        ),
        (
            "b=a",
            format!(
                "{name}: `b` is a model of RESCORED_MODELS already, and names that model; leave it out, or choose another alias"
            ),
        ),
        ("x=a,x=b", format!("{name}: `x=a,x=b` names `x` twice; {valid}; keep one")),
        ("x", format!("{name}: `x` has an item without `=`; {valid}; {form}")),
        ("=a", format!("{name}: `=a` has an item with an empty alias; {valid}; {form}")),
        ("x=", format!("{name}: `x=` has an item with an empty model; {valid}; {form}")),
        ("x=a,", format!("{name}: `x=a,` has an empty item; {valid}; remove the extra comma")),
        (
            "default=a",
            format!(
                "{name}: `default=a` names an alias `default`, which callers use for the first model; {valid}; put the model \
                 first in RESCORED_MODELS"
            ),
        ),
    ] {
        assert_eq!(faults(&[models, (name, text)]), [fault]);
    }
}
