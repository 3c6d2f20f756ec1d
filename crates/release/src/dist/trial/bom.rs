//! Checks the bill of materials against CycloneDX's schema.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use devstack::tools;

use crate::say;

/// Reads the document whose path is its argument.
const SCRIPT: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1], encoding='utf-8').read())
sys.exit(str(error) if error else 0)
";

pub(super) fn check(document: &Path) -> Result<()> {
    let python = tools::ensure_cyclonedx(&mut say)?;
    let mut checker = Command::new(python);
    checker.args(["-c", SCRIPT]).arg(document).stdin(Stdio::null());
    let output = checker.output().context("cannot start Python")?;
    let problem = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} is not CycloneDX: {}", document.display(), problem.trim());
    say(&format!("{} is valid CycloneDX", document.display()));
    Ok(())
}
