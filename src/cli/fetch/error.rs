//! Why a fetch ended early, said to whoever runs it.
//!
//! Owns the sentences: what, which value, why, what to do. It must not know how anything is brought.

use std::path::PathBuf;

use rescored_runtime::catalogue::{CatalogueError, RuntimeError};
use rescored_runtime::checksum::Sha256;
use rescored_runtime::manifest::ManifestError;

/// Why a fetch ended early. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The catalogue cannot be used.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// There is no library for this system.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The model is not in the catalogue.
    #[error("model: `{name}` is not in the catalogue (known: {known}); name a repository of the hub as OWNER/NAME, add it to {}, or put an ONNX file and tokenizer.json into {}", catalogue.display(), folder.display())]
    UnknownModel {
        /// The name as given.
        name: String,
        /// Ids in the catalogue.
        known: String,
        /// Where entries can be added.
        catalogue: PathBuf,
        /// Where a model can be put by hand.
        folder: PathBuf,
    },
    /// There is no room for a file.
    #[error("`{}`: the disk is full; make room and run this again, which goes on with what was downloaded, or choose another --model-dir", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be read or written.
    #[error("`{}` cannot be written or read; check permissions and free space, or choose another --model-dir", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The Python that was named cannot be started.
    #[error("python: `{}` cannot be started; install Python 3 with pip, or name another by --python", python.display())]
    NoPython {
        /// The program.
        python: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Python has no pip.
    #[error("pip: `{} -m pip` does not run; install it: `{0} -m ensurepip --upgrade`, or the package python3-pip of your system", python.display())]
    NoPip {
        /// The Python.
        python: PathBuf,
    },
    /// pip ended with a failure.
    #[error("pip: {package} was not downloaded: {reason}; check the network and pip's index, or put {file} into {} by hand", folder.display())]
    Pip {
        /// Name and version.
        package: String,
        /// pip's last word.
        reason: String,
        /// The wheel.
        file: String,
        /// Where it can be put.
        folder: PathBuf,
    },
    /// The wheel is not what was asked for.
    #[error("wheel: `{}` holds no `{member}`; delete it and run this again", path.display())]
    Wheel {
        /// The wheel.
        path: PathBuf,
        /// The member.
        member: String,
        /// Why.
        #[source]
        source: zip::result::ZipError,
    },
    /// Bytes are not what the catalogue or the lock says.
    #[error("sha256: `{}` is {found}, expected {expected}; the source changed or the download was altered: delete it if it is there and run this again, and do not use it until they agree", path.display())]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// What it must be.
        expected: Sha256,
        /// What it is.
        found: Sha256,
    },
    /// The hub does not answer.
    #[error("hub: `{url}` does not answer, or breaks off; check the network and HTTPS_PROXY, and run this again, which goes on with what was downloaded; or name a mirror by --hub, or put {} there by hand", path.display())]
    HubUnreachable {
        /// The address.
        url: String,
        /// Where the file can be put.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The hub answers, but not with the file.
    #[error("hub: `{url}` answers {status}; check the catalogue's repo, revision and file names, or put {} there by hand and run this again", path.display())]
    HubRefused {
        /// The address.
        url: String,
        /// Its status.
        status: u16,
        /// Where the file can be put.
        path: PathBuf,
    },
    /// The lock file is damaged.
    #[error("lock: `{}` is not understood; restore it, or delete it to trust the hub anew", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The address of the hub is none.
    #[error(
        "{name}: `{given}` is no address of a hub; write `https://` or `http://`, a host, and a path where it has one"
    )]
    Endpoint {
        /// The flag or variable.
        name: &'static str,
        /// Its value.
        given: String,
    },
    /// The token cannot be sent.
    #[error("HF_TOKEN: the value (redacted) has white space or control characters; set it to the token alone")]
    Token,
    /// There is no such repository, as far as the hub shows.
    #[error(
        "hub: `{repo}` is no repository of {hub}, or a private one; check its spelling, and set HF_TOKEN if it is private"
    )]
    NoRepository {
        /// `owner/name`.
        repo: String,
        /// The hub's address.
        hub: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("hub: `{repo}` has no revision `{revision}`; {hub}/{repo}/tree/main lists what it has")]
    NoRevision {
        /// `owner/name`.
        repo: String,
        /// The revision asked for.
        revision: String,
        /// The hub's address.
        hub: String,
    },
    /// The repository is there, and not for everybody.
    #[error("hub: `{repo}` is gated, and {}; accept its terms at {hub}/{repo} and set HF_TOKEN to a token of that account that may read it", whose(*.token))]
    Gated {
        /// `owner/name`.
        repo: String,
        /// The hub's address.
        hub: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// The hub answers neither with a list of files nor with a reason that is known.
    #[error("hub: `{url}` answers {status}; run this again later, or name a mirror by --hub or HF_ENDPOINT")]
    HubFailed {
        /// The address.
        url: String,
        /// Its status.
        status: u16,
    },
    /// The hub's answer is not understood.
    #[error("hub: `{url}` answers with something else than a list of files; check --hub and HF_ENDPOINT")]
    Unlisted {
        /// The address.
        url: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The repository has nothing that can be run.
    #[error(
        "model: `{repo}` has no weights that can be read; it has {found}, and *.safetensors beside config.json or *.onnx is needed: {hint}"
    )]
    NoWeights {
        /// `owner/name`.
        repo: String,
        /// What it has instead.
        found: String,
        /// What to do.
        hint: &'static str,
    },
    /// A list of files within the repository names what is not there, or is none.
    #[error(
        "model: `{repo}`: `{file}` {problem}; the repository is not whole: tell its makers, or take another revision, OWNER/NAME@REVISION"
    )]
    Broken {
        /// `owner/name`.
        repo: String,
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The folder holds another model.
    #[error("model: `{}` holds {source_there}, not `{wanted}`; move that folder away, or choose another --model-dir", folder.display())]
    Occupied {
        /// The folder.
        folder: PathBuf,
        /// What its manifest says.
        source_there: String,
        /// `owner/name`.
        wanted: String,
    },
    /// Whoever was asked did not want it.
    #[error("model: `{repo}` was not downloaded; run this again with --yes, or choose a smaller model")]
    Declined {
        /// `owner/name`.
        repo: String,
    },
    /// The file is not as long as the hub says.
    #[error("`{}` has {found} bytes, and the hub says {expected}; run this again, and name a mirror by --hub if it stays so", path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Bytes that it must have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// What was brought is no model that can be served.
    #[error(transparent)]
    Unservable(#[from] ManifestError),
}

fn whose(token: bool) -> &'static str {
    if token { "the account of HF_TOKEN may not read it" } else { "HF_TOKEN is not set" }
}
