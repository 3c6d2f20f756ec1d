//! `orderd dead-letters`: what could not be taken in, why, and back into the topic after a mend.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use anyhow::Context as _;
use async_nats::jetstream::Context;
use comfy_table::Table;
use serde_json::json;

use super::progress::Progress;
use crate::cli::{DeadLetterAction, DeadLetterList, DeadLetterShow, DeadLettersArgs, DeadLettersCommand};
use crate::config::Nats;
use crate::dead_letters::format::{DeadLetter, header};
use crate::dead_letters::list;
use crate::dead_letters::store::DeadLetters;
use crate::nats;

/// Runs one of them. `show` of a key that isn't there: 1.
///
/// # Errors
/// A server that can't be reached, or what it refuses.
pub async fn run(args: DeadLettersArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        DeadLettersCommand::List(args) => list(args).await,
        DeadLettersCommand::Show(args) => show(args).await,
        DeadLettersCommand::Replay(args) => replay(args).await,
        DeadLettersCommand::Drop(args) => discard(args).await,
    }
}

async fn list(args: DeadLetterList) -> anyhow::Result<ExitCode> {
    let (context, _) = connect(&Nats::new(&args.nats)?).await?;
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["KEY", "TIME", "REASON", "PLACE", "BYTES"]);
    let mut lines = String::new();
    let letters = list::all(&context).await?;
    for letter in letters.iter().filter(|letter| is_for(letter, args.reason.as_deref())) {
        if args.json {
            lines.push_str(&format!("{}\n", letter.describe()));
        } else {
            let place = place(letter.header(header::PATH), letter.header(header::OFFSET));
            table.add_row([
                &letter.key,
                letter.header(header::TIME),
                letter.header(header::REASON),
                &place,
                letter.header(header::BYTES),
            ]);
        }
    }
    super::print(&if args.json { lines } else { format!("{table}\n") })?;
    Ok(ExitCode::SUCCESS)
}

/// Where in the document and where in the payload something is wrong: `$.payment.amount, byte 37`.
fn place(path: &str, offset: &str) -> String {
    let offset = if offset.is_empty() { String::new() } else { format!("byte {offset}") };
    let parts = [path, &offset].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(", ")
}

async fn show(args: DeadLetterShow) -> anyhow::Result<ExitCode> {
    let (context, _) = connect(&Nats::new(&args.nats)?).await?;
    let missing = || format!("there is no dead letter {}", args.key);
    let letter = list::find(&context, &args.key).await?.with_context(missing)?;
    let payload = list::payload(&context, &letter).await?.with_context(missing)?;
    if args.json {
        super::print(&format!("{}\n", letter.describe_with(&payload)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for (name, value) in letter.describe().as_object().into_iter().flatten() {
        text.push_str(&format!("{name}: {}\n", value.as_str().map_or(value.to_string(), str::to_owned)));
    }
    super::print(&format!("{text}\n{}\n", String::from_utf8_lossy(&payload)))?;
    Ok(ExitCode::SUCCESS)
}

async fn replay(args: DeadLetterAction) -> anyhow::Result<ExitCode> {
    let (context, _) = connect(&Nats::new(&args.nats)?).await?;
    let chosen = chosen(&context, &args).await?;
    let progress = Progress::new(Some(chosen.len() as u64), "dead letters");
    for letter in &chosen {
        list::replay(&context, letter).await?;
        progress.add(1);
    }
    done(&args, progress, "dead letters", chosen.len())
}

async fn discard(args: DeadLetterAction) -> anyhow::Result<ExitCode> {
    let (context, stored) = connect(&Nats::new(&args.nats)?).await?;
    let chosen = chosen(&context, &args).await?;
    if !args.yes && !chosen.is_empty() && !confirmed(chosen.len())? {
        super::complain("nothing dropped");
        return Ok(ExitCode::FAILURE);
    }
    let progress = Progress::new(Some(chosen.len() as u64), "dead letters");
    for letter in &chosen {
        stored.delete(&letter.subject).await.with_context(|| format!("can't drop {}", letter.key))?;
        progress.add(1);
    }
    done(&args, progress, "dead letters", chosen.len())
}

fn done(args: &DeadLetterAction, progress: Progress, things: &str, count: usize) -> anyhow::Result<ExitCode> {
    let line = progress.finish(things);
    super::print(&if args.json { format!("{}\n", json!({ "count": count })) } else { format!("{line}\n") })?;
    Ok(ExitCode::SUCCESS)
}

fn confirmed(count: usize) -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    anyhow::ensure!(stdin.is_terminal(), "drop is for good: say --yes where there is nobody to ask");
    super::complain(&format!("Drop {count} dead letters for good? Type yes:"));
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

async fn connect(settings: &Nats) -> anyhow::Result<(Context, DeadLetters)> {
    let client = nats::connect_usable(settings).await?;
    let context = settings.jetstream(client.clone());
    Ok((context.clone(), DeadLetters::new(client, context)))
}

/// The dead letters that are meant.
///
/// # Errors
/// A key that has none.
async fn chosen(context: &Context, args: &DeadLetterAction) -> anyhow::Result<Vec<DeadLetter>> {
    let mut letters = if args.keys.is_empty() { list::all(context).await? } else { Vec::new() };
    for key in &args.keys {
        let letter = list::find(context, key).await?;
        letters.push(letter.with_context(|| format!("there is no dead letter {key}"))?);
    }
    letters.retain(|letter| is_for(letter, args.reason.as_deref()));
    Ok(letters)
}

fn is_for(letter: &DeadLetter, reason: Option<&str>) -> bool {
    reason.is_none_or(|reason| letter.header(header::REASON) == reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_says_that_its_number_is_a_byte() {
        assert_eq!(place("$.payment.amount", "37"), "$.payment.amount, byte 37");
        assert_eq!((place("", "0"), place("$", "")), ("byte 0".into(), "$".into()));
        assert_eq!(place("", ""), "");
    }
}
