//! The commit from which a program is built, read from git.
//!
//! A macro, and not a build script: after a build script, cargo compiles the whole package again, whose library takes a
//! minute. The macro makes only the target that calls it depend on git's files, so that a commit recompiles `main.rs`
//! and links.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proc_macro::TokenStream;

/// The variable that says the commit where git can't. A release sets it, so that its bytes depend on no folder.
const VARIABLE: &str = "ORDERD_REVISION";

/// An `Option<&'static str>`: the commit in 12 digits, with `-dirty` if files that git tracks have changed since; or the
/// value of `ORDERD_REVISION`. `None` outside a clone of this workspace, and without git.
#[proc_macro]
pub fn revision(_: TokenStream) -> TokenStream {
    let given = std::env::var(VARIABLE).ok().filter(|given| !given.trim().is_empty());
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let (revision, files) = match given {
        Some(given) => (Some(given), Vec::new()),
        None => match Path::new(&package).ancestors().nth(2).and_then(Clone::of) {
            Some(clone) => (clone.revision(), clone.files()),
            None => (None, Vec::new()),
        },
    };
    expansion(revision.as_deref(), &files).parse().unwrap_or_default()
}

/// An expression that is compiled again when the variable or one of the files changes.
fn expansion(revision: Option<&str>, files: &[PathBuf]) -> String {
    let files = files.iter().filter_map(|file| file.to_str());
    let files: String = files.map(|file| format!("const _: &[u8] = include_bytes!({file:?});")).collect();
    format!("{{ const _: Option<&str> = option_env!({VARIABLE:?}); {files} {revision:?} }}")
}

/// A clone of this workspace.
struct Clone {
    root: PathBuf,
}

impl Clone {
    /// `None` if the folder is not the root of a clone. It may be an unpacked archive within a clone of something else.
    fn of(root: &Path) -> Option<Self> {
        let root = root.canonicalize().ok()?;
        let top = git(&root, &["rev-parse", "--show-toplevel"])?;
        (Path::new(&top).canonicalize().ok()? == root).then_some(Self { root })
    }

    fn revision(&self) -> Option<String> {
        let commit = git(&self.root, &["rev-parse", "--short=12", "HEAD"])?;
        let changed = git(&self.root, &["status", "--porcelain", "--untracked-files=no"])?;
        Some(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
    }

    /// Files of which one changes with each commit and checkout.
    fn files(&self) -> Vec<PathBuf> {
        let branch = git(&self.root, &["symbolic-ref", "--quiet", "HEAD"]);
        let names = ["HEAD".to_owned(), "logs/HEAD".to_owned()].into_iter().chain(branch);
        let paths = names.filter_map(|name| git(&self.root, &["rev-parse", "--git-path", &name]));
        paths.map(|path| self.root.join(path)).filter(|path| path.is_file()).collect()
    }
}

/// The output of git; `None` if it fails, or is not installed.
fn git(root: &Path, args: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    // The build must not wait for, or disturb, another git; in a hook, git sets variables that name its files.
    command.arg("--no-optional-locks").args(args).current_dir(root).stdin(Stdio::null());
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(variable);
    }
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn commit(root: &Path, text: &str) -> String {
        fs::write(root.join("file"), text).unwrap();
        fs::create_dir_all(root.join("within")).unwrap();
        git(root, &["add", "file"]).unwrap();
        let author = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"];
        git(root, &[&author[..], &["commit", "--message", text]].concat()).unwrap();
        git(root, &["rev-parse", "HEAD"]).unwrap()
    }

    #[test]
    fn a_clone_has_its_commit_and_says_what_changes_with_it() {
        if Command::new("git").arg("--version").output().is_err() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert!(Clone::of(root).is_none());
        git(root, &["init"]).unwrap();
        // Without a commit.
        assert_eq!(Clone::of(root).unwrap().revision(), None);
        let first = commit(root, "one");
        let clone = Clone::of(root).unwrap();
        assert_eq!(clone.revision().unwrap(), first[..12]);
        let contents =
            || clone.files().iter().map(|file| fs::read_to_string(file).unwrap()).collect::<Vec<_>>();
        let before = contents();
        assert!(!before.is_empty());
        fs::write(root.join("untracked"), "").unwrap();
        assert_eq!(clone.revision().unwrap(), first[..12]);
        fs::write(root.join("file"), "changed").unwrap();
        assert_eq!(clone.revision().unwrap(), format!("{}-dirty", &first[..12]));
        let second = commit(root, "two");
        assert_eq!(clone.revision().unwrap(), second[..12]);
        assert_ne!(contents(), before);
        // An archive that is unpacked within a clone of something else.
        assert!(Clone::of(&root.join("within")).is_none());
    }

    /// A release has the same bytes in two folders.
    #[test]
    fn a_given_revision_names_no_file() {
        assert_eq!(
            expansion(Some("0123"), &[]),
            r#"{ const _: Option<&str> = option_env!("ORDERD_REVISION");  Some("0123") }"#
        );
        assert!(expansion(None, &["a b".into()]).contains(r#"include_bytes!("a b"); None }"#));
    }
}
