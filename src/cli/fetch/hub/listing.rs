//! What the hub says of a repository: its commit, its licence, its files with their sizes and checksums.
//!
//! Owns the hub's interface for that (`/api/models/OWNER/NAME/revision/REVISION` and `…/tree/COMMIT`) and what its
//! refusals mean. It must not know which files make a model.

use std::io::Read;

use rescored_runtime::checksum::Sha256;
use rescored_runtime::manifest::is_inner_path;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::Response;

use super::connection::{Answer, Connection, origin, text};
use super::escaped;
use crate::fetch::FetchError;

/// Bytes of one answer at most.
const LARGEST: u64 = 32 << 20;

/// Pages of a list of files at most; the hub puts a thousand files on one.
const PAGES: u32 = 50;

/// A repository at a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::fetch) struct Listing {
    /// The commit.
    pub(in crate::fetch) commit: String,
    /// Its SPDX name, or what the hub calls it; empty where none is stated.
    pub(in crate::fetch) licence: String,
    /// Files by their paths; those that no folder of ours could hold are left out.
    pub(in crate::fetch) files: Vec<RemoteFile>,
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::fetch) struct RemoteFile {
    /// Its path in the repository.
    pub(in crate::fetch) path: String,
    /// Its bytes.
    pub(in crate::fetch) size: u64,
    /// Its checksum; stated of files in large-file storage.
    pub(in crate::fetch) sha256: Option<Sha256>,
}

#[derive(Deserialize)]
struct Revision {
    sha: String,
    #[serde(default, rename = "cardData")]
    card: Option<Value>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Node {
    r#type: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    oid: String,
    size: u64,
}

impl Connection {
    /// Asks for a repository at a branch, tag or commit.
    pub(in crate::fetch) fn list(&self, repo: &str, revision: &str) -> Result<Listing, FetchError> {
        let api = format!("{}/api/models/{repo}", self.hub());
        let (Revision { sha: commit, card, tags }, _) =
            self.read(&format!("{api}/revision/{}", escaped(revision, false)), (repo, revision))?;
        let mut files = Vec::new();
        let mut page = Some(format!("{api}/tree/{}?recursive=true", escaped(&commit, false)));
        for _ in 0..PAGES {
            let Some(url) = page else { break };
            let (nodes, next): (Vec<Node>, _) = self.read(&url, (repo, revision))?;
            files.extend(nodes.into_iter().filter(|node| node.r#type == "file").filter_map(RemoteFile::of));
            page = next;
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Listing { commit, licence: licence(card.as_ref(), &tags), files })
    }

    /// An answer, and the address of the page behind it.
    fn read<T: DeserializeOwned>(&self, url: &str, asked: (&str, &str)) -> Result<(T, Option<String>), FetchError> {
        let unreachable = |source| FetchError::HubUnreachable { url: url.to_owned(), path: asked.0.into(), source };
        let Answer { response, .. } = self.ask(url, 0).map_err(|failed| unreachable(failed.cause()))?;
        if !response.status().is_success() {
            let failed = || FetchError::HubFailed { url: url.to_owned(), status: response.status().as_u16() };
            return Err(self.refusal(&response, asked).unwrap_or_else(failed));
        }
        let next = text(&response, "link").and_then(next_page).filter(|next| origin(next) == origin(self.hub()));
        let mut body = Vec::new();
        let mut reader = response.into_body().into_reader().take(LARGEST);
        reader.read_to_end(&mut body).map_err(|error| unreachable(error.into()))?;
        let read = serde_json::from_slice(&body);
        Ok((read.map_err(|source| FetchError::Unlisted { url: url.to_owned(), source })?, next))
    }

    /// What the hub means by refusing; `None` where it is no reason of the repository's.
    pub(super) fn refusal(
        &self,
        response: &Response<ureq::Body>,
        (repo, revision): (&str, &str),
    ) -> Option<FetchError> {
        let (repo, revision, hub) = (repo.to_owned(), revision.to_owned(), self.hub().to_owned());
        let token = self.has_token();
        Some(match (response.status().as_u16(), text(response, "x-error-code")) {
            (404, Some("RevisionNotFound")) => FetchError::NoRevision { repo, revision, hub },
            (404, Some("EntryNotFound")) => return None,
            // The hub answers alike for private and missing repositories, unless the token has access.
            (404, _) | (401, Some("RepoNotFound")) => FetchError::NoRepository { repo, hub },
            (401 | 403, _) => FetchError::Gated { repo, hub, token },
            _ => return None,
        })
    }
}

impl RemoteFile {
    fn of(node: Node) -> Option<Self> {
        let Node { path, size, lfs, .. } = node;
        let (size, sha256) = match lfs {
            // A checksum that is none would be no check at all: the file is then none that can be taken.
            Some(large) => (large.size, Some(large.oid.trim_start_matches("sha256:").parse().ok()?)),
            None => (size, None),
        };
        is_inner_path(&path).then_some(Self { path, size, sha256 })
    }
}

/// The licence of a model's card, as SPDX spells it.
fn licence(card: Option<&Value>, tags: &[String]) -> String {
    const SPELLED: [(&str, &str); 12] = [
        ("apache-2.0", "Apache-2.0"),
        ("mit", "MIT"),
        ("bsd-3-clause", "BSD-3-Clause"),
        ("cc-by-4.0", "CC-BY-4.0"),
        ("cc-by-sa-3.0", "CC-BY-SA-3.0"),
        ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
        ("cc-by-nc-4.0", "CC-BY-NC-4.0"),
        ("cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0"),
        ("cc-by-nc-nd-4.0", "CC-BY-NC-ND-4.0"),
        ("cc0-1.0", "CC0-1.0"),
        ("gpl-3.0", "GPL-3.0-only"),
        ("agpl-3.0", "AGPL-3.0-only"),
    ];
    let words = |key: &str| match card.and_then(|card| card.get(key)) {
        Some(Value::String(word)) => vec![word.clone()],
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let mut stated = words("license");
    if stated.is_empty() {
        stated = tags.iter().filter_map(|tag| tag.strip_prefix("license:")).map(str::to_owned).collect();
    }
    if stated == ["other"] {
        stated = Some(words("license_name")).filter(|names| !names.is_empty()).unwrap_or(stated);
    }
    let spelled = |word: &String| {
        let known = SPELLED.iter().find(|(hub, _)| hub.eq_ignore_ascii_case(word));
        let plain: String = word.chars().filter(|c| !c.is_control()).take(80).collect();
        known.map_or(plain, |(_, spdx)| (*spdx).to_owned())
    };
    stated.iter().map(spelled).collect::<Vec<_>>().join(" AND ")
}

/// The address that a header calls the next page.
fn next_page(link: &str) -> Option<String> {
    let one = link.split(',').find(|one| one.contains("rel=\"next\""))?;
    Some(one.split_once('<')?.1.split_once('>')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn licences_are_spelled_as_spdx_does() {
        for (card, tags, expected) in [
            (json!({"license": "apache-2.0"}), vec![], "Apache-2.0"),
            (json!({"license": ["mit", "cc-by-nc-4.0"]}), vec![], "MIT AND CC-BY-NC-4.0"),
            (json!({}), vec!["en", "license:mit"], "MIT"),
            (json!({"license": "other", "license_name": "ours"}), vec![], "ours"),
            (json!({"license": "other"}), vec![], "other"),
            (json!(null), vec![], ""),
        ] {
            let tags: Vec<String> = tags.into_iter().map(str::to_owned).collect();
            assert_eq!(licence(Some(&card), &tags), expected, "{card}");
        }
    }

    #[test]
    fn the_next_page_is_the_one_of_that_name() {
        let link = "<https://hub/a?cursor=1>; rel=\"prev\", <https://hub/a?cursor=3>; rel=\"next\"";
        assert_eq!(next_page(link).as_deref(), Some("https://hub/a?cursor=3"));
        assert_eq!(next_page("<https://hub/a>; rel=\"prev\""), None);
    }

    #[test]
    fn files_that_would_lie_elsewhere_are_no_files_of_ours() {
        let node = |path: &str| Node { r#type: "file".into(), path: path.into(), size: 1, lfs: None };
        for (path, ours) in [
            ("model.safetensors", true),
            ("1_Dense/config.json", true),
            ("../model.onnx", false),
            ("/etc/passwd", false),
            ("a/../../b", false),
            (".git/config", false),
            ("a\\b", false),
            ("", false),
        ] {
            assert_eq!(RemoteFile::of(node(path)).is_some(), ours, "{path}");
        }
        let large = Large { oid: "no checksum".into(), size: 9 };
        assert!(RemoteFile::of(Node { lfs: Some(large), ..node("model.onnx") }).is_none());
    }
}
