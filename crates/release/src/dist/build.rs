//! Builds the program: static, linked with musl, without paths of this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use devstack::{cargo, tools};
use sha2::{Digest, Sha256};

use super::hex;
use super::targets::Target;
use crate::release::Release;
use crate::say;

/// Builds it and returns its path.
pub(super) fn program(target: &Target, release: &Release) -> Result<PathBuf> {
    ensure_target(target)?;
    let folder = tools::workspace().join("target/dist-build");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let compiler = compiler(target, &folder)?;
    say(&format!("building orderd for {}", target.triple));
    let mut build = cargo::command();
    build.args([
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "orderd",
        "--target",
        target.triple,
    ]);
    build.arg("--target-dir").arg(&folder);
    let underscored = target.triple.replace('-', "_");
    build.env(format!("CC_{underscored}"), &compiler);
    // Only the target selects flags.
    build.env(format!("CFLAGS_{underscored}"), "");
    build.env(format!("CARGO_TARGET_{}_LINKER", underscored.to_uppercase()), linker(target, &folder)?);
    build.env("CARGO_ENCODED_RUSTFLAGS", flags(target)?.join("\u{1f}"));
    build.env("ORDERD_REVISION", &release.revision).env("SOURCE_DATE_EPOCH", release.epoch.to_string());
    build.env_remove("RUSTFLAGS").current_dir(tools::workspace()).stdin(Stdio::null());
    let status = build.status().context("cannot start cargo")?;
    ensure!(status.success(), "cannot build orderd for {}: cargo ended with {status}", target.triple);
    Ok(folder.join(target.triple).join("release/orderd"))
}

/// Remaps paths of this machine, which panics contain.
fn flags(target: &Target) -> Result<Vec<String>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let home =
        home.context("cannot tell where cargo keeps its sources: neither CARGO_HOME nor HOME is set")?;
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let mut flags = vec![remap(&tools::workspace(), "/src"), remap(&home, "/cargo")];
    if !target.is_position_independent {
        // Not to be guessed from the linker's name.
        flags.push("-Clinker-flavor=ld.lld".to_owned());
    }
    Ok(flags)
}

/// Rust's own libraries for the target.
fn ensure_target(target: &Target) -> Result<()> {
    let mut rustc = Command::new("rustc");
    let output = rustc.args(["--print", "target-libdir", "--target", target.triple]).output();
    let folder = String::from_utf8(output.context("cannot start rustc")?.stdout)?;
    if Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    say(&format!("installing Rust's libraries for {}", target.triple));
    let status = Command::new("rustup").args(["target", "add", target.triple]).stdin(Stdio::null()).status();
    let without = match target.is_native() {
        true => String::new(),
        false => format!("; `--target {}` builds for this machine's architecture alone", env::consts::ARCH),
    };
    ensure!(
        status.is_ok_and(|status| status.success()),
        "cannot build for {}: its Rust libraries are not installed, and `rustup target add {}` fails{without}",
        target.arch,
        target.triple
    );
    Ok(())
}

/// A C compiler for the target. Zig contains musl for each target, so that the result does not depend on the machine's
/// packages.
fn compiler(target: &Target, folder: &Path) -> Result<PathBuf> {
    let zig = tools::ensure_zig(&mut say)?;
    let workspace = tools::workspace();
    // Crates pass Rust's name of the target, which Zig does not know. Sanitizers are for debugging. mimalloc contains the
    // time of its compilation; SOURCE_DATE_EPOCH would set it, but neither cargo nor Zig compiles again if that changes.
    let script = format!(
        "#!/bin/sh\nfor arg; do\n    shift\n    case \"$arg\" in\n    --target=*) ;;\n    *) set -- \"$@\" \"$arg\" ;;\n    \
         esac\ndone\nexec '{}' cc -target {} -fno-sanitize=undefined -g0 '-ffile-prefix-map={}=/src' \
         -Wno-builtin-macro-redefined '-D__DATE__=\"unknown\"' '-D__TIME__=\"unknown\"' \"$@\"\n",
        zig.display(),
        target.zig,
        workspace.display(),
    );
    // Cargo compiles again if the program has another name.
    let name = format!("cc-{}-{}", target.arch, &hex(&Sha256::digest(&script))[..16]);
    let file = folder.join(name);
    write_program(&file, &script)?;
    Ok(file)
}

/// A program that links for the target: Rust's own, which takes each format.
fn linker(target: &Target, folder: &Path) -> Result<PathBuf> {
    if target.is_position_independent {
        return Ok("rust-lld".into());
    }
    let file = folder.join(format!("ld-{}", target.arch));
    write_program(&file, LINK_POSITION_INDEPENDENT)?;
    Ok(file)
}

/// Otherwise the program is always at the same address, which helps attackers. Rust compiles code for any address, and
/// brings the objects to start it there; for some targets, it only does not link them.
const LINK_POSITION_INDEPENDENT: &str = r#"#!/bin/sh
for arg; do
    shift
    case "$arg" in
    */self-contained/crt1.o) arg=${arg%crt1.o}rcrt1.o ;;
    */self-contained/crtbegin.o | */self-contained/crtend.o) arg=${arg%.o}S.o ;;
    esac
    set -- "$@" "$arg"
done
exec rust-lld "$@" -pie --no-dynamic-linker -z text
"#;

fn write_program(file: &Path, script: &str) -> Result<()> {
    fs::write(file, script).with_context(|| format!("cannot write {}", file.display()))?;
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(file, executable).with_context(|| format!("cannot make {} a program", file.display()))
}
