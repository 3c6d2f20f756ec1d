//! A package for Debian and Ubuntu. We write it ourselves, because it is only an `ar` of two archives: cargo-deb takes
//! minutes to build, and dpkg-deb is not on every machine.

use anyhow::Result;
use md5::{Digest, Md5};

use super::archive::{self, Entry};
use super::shell::{Texts, filled, read};
use super::targets::Target;
use super::{Built, hex};
use crate::release::Release;

/// Debian's revision, incremented when the same program is packaged again.
const PACKAGING: u32 = 1;

pub(super) fn name(release: &Release, target: &Target) -> String {
    format!("orderd_{}_{}.deb", version(release), target.debian)
}

fn version(release: &Release) -> String {
    format!("{}-{PACKAGING}", release.version)
}

pub(super) fn package(release: &Release, built: &Built, texts: &Texts, licences: &str) -> Result<Vec<u8>> {
    let data = archive::with_folders(&files(release, built, texts, licences)?);
    let control = control(release, built, &data)?;
    let data = archive::gzip(&archive::tar(&data, "./", release.epoch)?)?;
    let control = archive::gzip(&archive::tar(&control, "./", release.epoch)?)?;
    Ok(ar(
        &[("debian-binary", b"2.0\n"), ("control.tar.gz", &control), ("data.tar.gz", &data)],
        release.epoch,
    ))
}

/// The installed files.
fn files(release: &Release, built: &Built, texts: &Texts, licences: &str) -> Result<Vec<Entry>> {
    let mut files = vec![
        Entry::file("usr/bin/orderd", 0o755, built.program.clone()),
        Entry::file("usr/lib/systemd/system/orderd.service", 0o644, read("deploy/orderd.service")?),
        Entry::file("etc/orderd/orderd.env", 0o644, read("deploy/debian/orderd.env")?),
        Entry::file("usr/share/lintian/overrides/orderd", 0o644, read("deploy/debian/lintian-overrides")?),
    ];
    let mut document = |name: &str, bytes: Vec<u8>| {
        files.push(Entry::file(format!("usr/share/doc/orderd/{name}"), 0o644, bytes));
    };
    document("copyright", copyright()?.into_bytes());
    document("licenses-of-libraries.gz", archive::gzip(licences.as_bytes())?);
    document("changelog.gz", archive::gzip(&read("CHANGELOG.md")?)?);
    document("changelog.Debian.gz", archive::gzip(changelog(release)?.as_bytes())?);
    for (page, text) in &texts.manual {
        files.push(Entry::file(format!("usr/share/man/man1/{page}.gz"), 0o644, archive::gzip(text)?));
    }
    for (shell, script) in &texts.completions {
        let path = match *shell {
            "bash" => "usr/share/bash-completion/completions/orderd",
            "zsh" => "usr/share/zsh/vendor-completions/_orderd",
            _ => "usr/share/fish/vendor_completions.d/orderd.fish",
        };
        files.push(Entry::file(path, 0o644, script.clone()));
    }
    Ok(files)
}

fn copyright() -> Result<String> {
    let mit = String::from_utf8(read("LICENSE-MIT")?)?;
    let holder =
        mit.lines().find_map(|line| line.strip_prefix("Copyright (c) ")).unwrap_or("the orderd maintainers");
    let text =
        mit.split("\n\n").skip_while(|part| !part.starts_with("Permission")).collect::<Vec<_>>().join("\n\n");
    let lines =
        text.lines().map(|line| if line.is_empty() { " .\n".to_owned() } else { format!(" {line}\n") });
    filled("deploy/debian/copyright", &[("HOLDER", holder), ("MIT", lines.collect::<String>().trim_end())])
}

fn changelog(release: &Release) -> Result<String> {
    let time = release.rfc2822()?;
    let words = [("VERSION", version(release)), ("TIME", time), ("MAINTAINER", release.maintainer.clone())];
    let words: Vec<_> = words.iter().map(|(word, value)| (*word, value.as_str())).collect();
    filled("deploy/debian/changelog", &words)
}

/// The control files and scripts of dpkg.
fn control(release: &Release, built: &Built, data: &[Entry]) -> Result<Vec<Entry>> {
    let sizes = data.iter().map(|entry| entry.bytes().len().div_ceil(1024).max(1));
    let installed = sizes.sum::<usize>().to_string();
    let words = [
        ("VERSION", version(release)),
        ("ARCHITECTURE", built.target.debian.to_owned()),
        ("SIZE", installed),
        ("MAINTAINER", release.maintainer.clone()),
    ];
    let words: Vec<_> = words.iter().map(|(word, value)| (*word, value.as_str())).collect();
    let files = data.iter().filter(|entry| !entry.is_folder());
    let of_settings = |entry: &&Entry| entry.path().starts_with("etc/");
    let settings =
        files.clone().filter(of_settings).map(|entry| format!("/{}\n", entry.path())).collect::<String>();
    let sums = files.filter(|entry| !of_settings(entry));
    let sums = sums.map(|entry| format!("{}  {}\n", hex(&Md5::digest(entry.bytes())), entry.path()));
    let mut control = vec![
        Entry::file("conffiles", 0o644, settings),
        Entry::file("control", 0o644, filled("deploy/debian/control", &words)?),
        Entry::file("md5sums", 0o644, sums.collect::<String>()),
    ];
    for script in ["postinst", "postrm", "prerm"] {
        control.push(Entry::file(script, 0o755, read(&format!("deploy/debian/{script}"))?));
    }
    Ok(control)
}

/// The `ar` archive: each part has a header of 60 bytes and is padded to an even length.
fn ar(parts: &[(&str, &[u8])], epoch: u64) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, bytes) in parts {
        let head = format!("{name:<16}{epoch:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 100_644, bytes.len());
        archive.extend_from_slice(head.as_bytes());
        archive.extend_from_slice(bytes);
        if bytes.len() % 2 == 1 {
            archive.push(b'\n');
        }
    }
    archive
}

#[cfg(test)]
mod tests {
    use super::ar;

    #[test]
    fn parts_of_an_archive_begin_at_even_places() {
        let archive = ar(&[("a", b"x"), ("b", b"yz")], 7);
        assert_eq!(archive.len(), 8 + 60 + 2 + 60 + 2);
        assert_eq!(&archive[8..24], b"a               ");
        assert_eq!(&archive[66..72], b"`\nx\nb ");
    }
}
