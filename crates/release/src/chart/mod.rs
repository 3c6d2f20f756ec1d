//! `cargo xtask chart`: renders the Helm chart with ordinary and odd values, and checks the result.

mod cases;
mod documents;
mod helm;
mod invariants;
mod manifests;
mod nulls;
mod rules;

use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use crate::say;
use cases::{CASES, Case, Expected};
use helm::Helm;

/// Check the Helm chart and the plain manifests generated from it
///
/// Needs no cluster: lints the chart, renders it with ordinary and odd values, checks each manifest against the schemas
/// of the oldest and newest supported Kubernetes and of the Prometheus operator, and checks the invariants of every
/// rendering. Invalid values must be refused with a reason. The chart's alerts must equal those of deploy/prometheus,
/// and deploy/kubernetes must equal the rendered chart. Builds Helm with Go if missing.
///
/// Examples: cargo xtask chart
///           cargo xtask chart --write
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Write deploy/kubernetes instead of comparing it
    #[arg(long)]
    write: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let helm = Helm::ready()?;
    manifests::check(&helm, options.write)?;
    if options.write {
        return Ok(ExitCode::SUCCESS);
    }
    let mut failed = 0;
    for case in CASES {
        if let Err(error) = check(&helm, case) {
            say(&format!("FAILED  {}: {error:#}", case.name));
            failed += 1;
        }
    }
    if failed > 0 {
        bail!("{failed} of {} cases failed", CASES.len());
    }
    nulls::check(&helm).context("values that are null")?;
    say(&format!("{} cases passed, and each value may be null, or is refused by its name", CASES.len()));
    Ok(ExitCode::SUCCESS)
}

fn check(helm: &Helm, case: &Case) -> Result<()> {
    let rendered = helm.render(case.release, case.values)?;
    match (rendered, case.expected) {
        (Ok(documents), Expected::Documents(check)) => {
            helm.lint(case.values).context("helm lint")?;
            invariants::check(&documents)?;
            check(&documents)
        }
        (Ok(_), Expected::Refused(why)) => bail!("is rendered, and should be refused: {why}"),
        (Err(said), Expected::Refused(why)) => {
            ensure!(said.contains(why), "is refused, but not with {why:?}: {said}");
            Ok(())
        }
        (Err(said), Expected::Documents(_)) => bail!("is refused: {said}"),
    }
}
