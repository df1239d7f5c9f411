//! Files that a run has added to the model folder: graphs that it compiled, weights in other programs' formats, packages.
//!
//! Owns the comparison of two listings. It deletes nothing by itself: a setting that a report recommends may need a graph
//! that was compiled for it. It must not know who wrote a file.

use std::collections::BTreeMap;
use std::fs::read_dir;
use std::path::{Path, PathBuf};

/// The files of a folder, with their sizes.
#[derive(Debug)]
pub struct Listing {
    root: PathBuf,
    files: BTreeMap<PathBuf, u64>,
}

impl Listing {
    /// What lies in a folder now; nothing where it cannot be read.
    pub fn of(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in read_dir(&folder).into_iter().flatten().flatten() {
                // Of the entry, not of what a link leads to.
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() {
                    folders.push(entry.path());
                } else if metadata.is_file() {
                    files.insert(entry.path(), metadata.len());
                }
            }
        }
        Self { root: root.to_owned(), files }
    }

    /// What has been added since, a line for each folder directly below the root, the largest first.
    pub fn added(&self) -> Vec<String> {
        let mut folders: BTreeMap<PathBuf, (usize, u64)> = BTreeMap::new();
        for (path, bytes) in Self::of(&self.root).files {
            if self.files.contains_key(&path) {
                continue;
            }
            let below = path.strip_prefix(&self.root).ok().and_then(|path| path.components().next());
            let Some(below) = below else { continue };
            let (files, all) = folders.entry(self.root.join(below)).or_default();
            (*files, *all) = (*files + 1, *all + bytes);
        }
        let mut folders: Vec<_> = folders.into_iter().collect();
        folders.sort_by_key(|(_, (_, bytes))| std::cmp::Reverse(*bytes));
        let line = |(folder, (files, bytes)): (PathBuf, (usize, u64))| {
            format!("{:.0} MiB in {files} new files below {}", bytes as f64 / f64::from(1 << 20), folder.display())
        };
        folders.into_iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_files_are_counted_by_the_folder_that_holds_them_and_old_ones_are_not() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: usize| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![0; bytes]).unwrap();
        };
        write("model/model.onnx", 10);
        let before = Listing::of(root.path());
        assert!(before.added().is_empty());
        write("model/compiled/a.onnx", 1 << 20);
        write("model/b.onnx", 2 << 20);
        write("other/c.onnx", 5 << 20);
        let added = before.added();
        assert_eq!(added.len(), 2, "{added:?}");
        assert!(added[0].starts_with("5 MiB in 1 new files") && added[0].ends_with("other"), "{added:?}");
        assert!(added[1].starts_with("3 MiB in 2 new files") && added[1].ends_with("model"), "{added:?}");
    }
}
