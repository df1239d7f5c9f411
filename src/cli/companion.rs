//! Programs that are installed together: `rescored`, and `rescored-lab` that measures it.
//!
//! Owns where the other one is looked for: beside this program's own file, then on `PATH`. It must not know what the other
//! one does.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The file of the program of this name; `vars` is the environment.
pub fn find(name: &str, vars: &[(OsString, OsString)]) -> Option<PathBuf> {
    let own = std::env::current_exe().ok();
    look(name, own.as_deref(), vars)
}

fn look(name: &str, own: Option<&Path>, vars: &[(OsString, OsString)]) -> Option<PathBuf> {
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path = vars.iter().find(|(known, _)| known == "PATH").map(|(_, value)| value.as_os_str());
    // A link to the program is as good a place as the program itself: packages link, and `cargo install` copies.
    let real = own.and_then(|own| own.canonicalize().ok());
    let beside = [own, real.as_deref()].into_iter().flatten().filter_map(Path::parent).map(Path::to_path_buf);
    let folders = beside.chain(std::env::split_paths(path.unwrap_or(OsStr::new(""))));
    // An empty entry of PATH would mean the working directory, where anybody may have put a program of that name.
    folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(&name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_the_program_comes_before_the_path_and_a_relative_entry_never() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let name = format!("other{}", std::env::consts::EXE_SUFFIX);
        let own = here.path().join("own");
        let vars = |path: &Path| [("PATH".into(), path.as_os_str().to_owned())];
        assert_eq!(look("other", Some(&own), &vars(there.path())), None);
        std::fs::write(there.path().join(&name), "").unwrap();
        assert_eq!(look("other", Some(&own), &vars(there.path())), Some(there.path().join(&name)));
        assert_eq!(look("other", None, &vars(Path::new("."))), None);
        std::fs::write(here.path().join(&name), "").unwrap();
        assert_eq!(look("other", Some(&own), &vars(there.path())), Some(here.path().join(&name)));
        assert_eq!(look("other", None, &[]), None);
    }
}
