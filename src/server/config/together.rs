//! Settings that are right alone and wrong together.
//!
//! Owns what must hold between two settings. It must not know how either is read.

use rescored_runtime::options::model_id;

use super::error::{SettingError, Shown};
use super::reader::Reader;
use super::{Config, settings};

/// A weight that is meant for nobody is a weight that somebody lacks.
fn check_weights(read: &mut Reader, config: &Config) {
    let models = settings::MODELS.name;
    let ids: Vec<&str> = config.model.ids.iter().map(|id| model_id(id)).collect();
    let name = settings::MODEL_WEIGHTS.name;
    if !read.understood(name) || !read.understood(models) {
        return;
    }
    for (stranger, _) in config.engine.weights.iter().filter(|(id, _)| !ids.contains(&id.as_str())) {
        let valid = listed(&ids);
        read.fault(SettingError::Stranger { name, given: Shown::open(stranger), other: models, valid });
    }
}

/// An alias of a model that nobody serves, or one that is a model's own name, would answer for the wrong one.
fn check_aliases(read: &mut Reader, config: &Config) {
    let (name, models) = (settings::ALIASES.name, settings::MODELS.name);
    if !read.understood(name) || !read.understood(models) {
        return;
    }
    let ids: Vec<&str> = config.model.ids.iter().map(|id| model_id(id)).collect();
    for (alias, target) in &config.aliases {
        if ids.contains(&alias.as_str()) {
            read.fault(SettingError::Taken { name, given: Shown::open(alias), other: models });
        }
        if !ids.contains(&target.as_str()) {
            read.fault(SettingError::Stranger { name, given: Shown::open(target), other: models, valid: listed(&ids) });
        }
    }
}

fn listed(ids: &[&str]) -> String {
    ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ")
}

/// Every pair of settings. A pair is checked only when each of the two was understood.
pub(super) fn check(read: &mut Reader, config: &Config) {
    check_weights(read, config);
    check_aliases(read, config);
    check_memory(read, config);
    let queue = config.engine.queue_tokens;
    let batch = u64::try_from(config.engine.batch_tokens.unwrap_or(0)).unwrap_or(u64::MAX);
    let length = u64::from(config.model.max_length);
    let documents = u64::try_from(config.http.max_documents).unwrap_or(u64::MAX);
    let queue_holds = [
        (settings::BATCH_TOKENS.name, batch, "a batch would never be admitted whole"),
        (settings::MAX_LENGTH.name, length, "one longest pair would never be admitted"),
        (settings::MAX_DOCUMENTS.name, documents, "a request of that many documents would never be admitted"),
    ];
    for (name, least, consequence) in queue_holds {
        if queue < least && read.understood(settings::QUEUE_TOKENS.name) && read.understood(name) {
            read.fault(SettingError::Conflict {
                name: settings::QUEUE_TOKENS.name,
                given: queue.to_string(),
                other: name,
                limit: least.to_string(),
                consequence,
            });
        }
    }
}

/// Requests that may hold more than the whole process may are bounded by nothing.
fn check_memory(read: &mut Reader, config: &Config) {
    let (name, other) = (settings::MEMORY_LIMIT.name, settings::MEMORY_BUDGET.name);
    let (Some(limit), Some(budget)) = (config.memory_limit, config.memory_budget) else { return };
    if limit < budget && read.understood(name) && read.understood(other) {
        let (given, limit) = (format!("{limit}B"), format!("{budget}B"));
        let consequence = "requests alone could take more than the whole process may";
        read.fault(SettingError::Conflict { name, given, other, limit, consequence });
    }
}
