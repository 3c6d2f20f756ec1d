//! `orderd dead-letters`: lists, replays and drops dead letters.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::Client;
use bytes::Bytes;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_util::task::AbortOnDropHandle;

use super::confirm::confirmed;
use super::interruption::unless_interrupted;
use super::progress::Progress;
use crate::cli::{
    DeadLetterDrop, DeadLetterList, DeadLetterReplay, DeadLetterShow, DeadLettersArgs, DeadLettersCommand,
    NatsArgs, PgArgs, WhichDeadLetters,
};
use crate::config::{ConfigError, Nats, Postgres, Table};
use crate::dead_letters::dead_letter_format::{DeadLetter, header};
use crate::dead_letters::dropping::{DropNote, OrderTable};
use crate::dead_letters::list;
use crate::dead_letters::replay::{self, Outcome};
use crate::dead_letters::store::DeadLetterStore;
use crate::logging::audit::{Action, Actor};
use crate::nats::orders_stream;
use crate::postgres::Connection;
use crate::postgres::position::{self, PositionKey};
use crate::wording::counted;
use crate::wording::shown;
use crate::{nats, postgres};

/// Maximum time without an outcome.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(20);

/// Time limit for asking the table.
const ROWS_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of dead letters whose reason is printed.
const MAX_EXPLAINED: usize = 20;

/// Runs a subcommand. Exit code 1 for `show` of a missing key.
///
/// # Errors
/// A server that can't be reached, or its refusal.
pub async fn run(args: DeadLettersArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        DeadLettersCommand::List(args) => list(args).await,
        DeadLettersCommand::Show(args) => show(args).await,
        DeadLettersCommand::Replay(args) => replay(args).await,
        DeadLettersCommand::Drop(args) => discard(args).await,
    }
}

async fn list(args: DeadLetterList) -> anyhow::Result<ExitCode> {
    let store = connect(&args.nats).await?;
    let mut letters = list::all(&store).await?;
    letters.retain(|letter| is_for(letter, args.reason.as_deref()));
    if letters.is_empty() {
        // Nothing on stdout, which programs read. The subjects show a PUB_TOPIC that differs from the service's.
        let reason = args.reason.map_or(String::new(), |reason| format!(" with the reason {reason}"));
        super::complain(&format!("there are no dead letters{reason} of {}", store.subjects().await?));
    } else if args.json {
        super::print(&letters.iter().map(|letter| format!("{}\n", letter.describe())).collect::<String>())?;
    } else {
        super::print(&table(&letters.iter().map(row).collect::<Vec<_>>()))?;
    }
    Ok(ExitCode::SUCCESS)
}

const COLUMNS: [&str; 5] = ["KEY", "TIME", "REASON", "PLACE", "BYTES"];

type Row = [String; COLUMNS.len()];

fn row(letter: &DeadLetter) -> Row {
    [
        letter.key.clone(),
        milliseconds(letter.header(header::TIME)),
        letter.header(header::REASON).to_owned(),
        location(letter.header(header::PATH), letter.header(header::OFFSET)),
        letter.header(header::BYTES).to_owned(),
    ]
}

/// Each column as wide as its widest cell; no line ends with blanks.
fn table(rows: &[Row]) -> String {
    let rows: Vec<Row> = std::iter::once(COLUMNS.map(str::to_owned)).chain(rows.iter().cloned()).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let line = |row: &Row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// A time with three digits of its second, so that all are equally long. The key has the rest.
fn milliseconds(time: &str) -> String {
    let Ok(at) = OffsetDateTime::parse(time, &Rfc3339) else { return time.to_owned() };
    let (date, (hour, minute, second, millisecond)) = (at.date(), at.to_hms_milli());
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// The location of an error in document and payload: `$.payment.amount, byte 37`.
fn location(path: &str, offset: &str) -> String {
    let offset = if offset.is_empty() { String::new() } else { format!("byte {offset}") };
    let parts = [path, &offset].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(", ")
}

async fn show(args: DeadLetterShow) -> anyhow::Result<ExitCode> {
    let store = connect(&args.nats).await?;
    let missing = || format!("there is no dead letter {}", args.key);
    let letter = store.find(&args.key).await?.with_context(missing)?;
    let payload = store.payload(&letter).await?.with_context(missing)?;
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

async fn replay(args: DeadLetterReplay) -> anyhow::Result<ExitCode> {
    let document = args.document.as_deref().map(|file| document(file, &args.which.keys)).transpose()?;
    let settings = Nats::new(&args.nats)?;
    let client = nats::connect_usable(&settings).await?;
    let store = opened(client.clone(), &settings).await?;
    let (letters, unknown) = chosen(&store, &args.which).await?;
    let progress = Progress::new(Some(letters.len() as u64), "dead letters");
    // Most replays have receipts before this is asked for.
    let followed = OnceLock::new();
    let position = || {
        let follow = || FollowedPosition::start(args.pg.clone(), client.clone(), settings.clone());
        *followed.get_or_init(follow).seq.borrow()
    };
    let by = Actor::os_user();
    let begun = |key| (key, Action::begin("replay", &by, key, Outcome::Undecided.as_str()));
    for key in &unknown {
        begun(key.as_str()).1.became(Outcome::Gone.as_str());
    }
    let chosen: HashSet<&str> = letters.iter().map(|letter| letter.key.as_str()).collect();
    let mut open: HashMap<&str, Action> = HashMap::new();
    let each = |key: &str, outcome: Option<&Outcome>| match outcome {
        None => open.extend(chosen.get(key).map(|key| begun(*key))),
        Some(outcome) => {
            progress.add(1);
            if let Some(action) = open.remove(key) {
                action.became(outcome.as_str());
            }
        }
    };
    let replayed = replay::replay(&store, &letters, document, None, OUTCOME_TIMEOUT, position, each);
    let outcomes = unless_interrupted(replayed).await;
    // The lines of those without an outcome, before what is printed.
    drop(open);
    progress.finish("dead letters");
    let mut outcomes = outcomes.context("the outcome of the replay is not known; run it again")?;
    outcomes.extend(unknown.iter().map(|key| (key.clone(), Outcome::Gone)));
    let keys: Vec<&str> =
        letters.iter().map(|letter| &letter.key).chain(&unknown).map(String::as_str).collect();
    super::print(&if args.json { format!("{}\n", described(&keys, &outcomes)) } else { summary(&outcomes) })?;
    if !args.json {
        explain(&keys, &outcomes);
        say_unknown(&unknown);
    }
    let is_done = |outcome: &Outcome| matches!(outcome, Outcome::TakenIn | Outcome::Gone);
    let all_done = unknown.is_empty() && outcomes.values().all(is_done);
    Ok(if all_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The position of the table, as it was read last. Where PostgreSQL can't be asked, it stays unknown.
struct FollowedPosition {
    seq: watch::Receiver<Option<u64>>,
    _task: AbortOnDropHandle<()>,
}

impl FollowedPosition {
    fn start(pg: PgArgs, client: Client, nats: Nats) -> Self {
        let (known, seq) = watch::channel(None);
        let following = async move { drop(follow(&pg, client, &nats, &known).await) };
        Self { seq, _task: AbortOnDropHandle::new(tokio::spawn(following)) }
    }
}

/// Reads the position again and again.
async fn follow(
    pg: &PgArgs,
    client: Client,
    nats: &Nats,
    known: &watch::Sender<Option<u64>>,
) -> anyhow::Result<()> {
    let settings = Postgres::new(pg)?;
    let stream = orders_stream::find(&nats.jetstream(client), nats).await?.context("no stream")?;
    let info = stream.cached_info();
    let (table, stream) = (settings.table.clone(), info.config.name.clone());
    let key = PositionKey { table, stream, topic: nats.topic.clone() };
    let connection = postgres::connect_once(&settings).await?;
    loop {
        let found = position::read(&connection.client, &key).await?;
        // The position of an earlier stream of this name does not count.
        let found = found.filter(|found| found.stream_created == orders_stream::created_micros(info));
        known.send_replace(found.map(|found| found.seq));
        sleep(replay::POLL_INTERVAL).await;
    }
}

/// The document that one dead letter is replayed with.
fn document(file: &Path, keys: &[String]) -> anyhow::Result<Bytes> {
    if keys.len() > 1 {
        return Err(
            ConfigError::new("--with", "takes one KEY: the document replaces the payload of one").into()
        );
    }
    let mut document = Vec::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().lock().read_to_end(&mut document),
        false => std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut document)),
    };
    read.map_err(|error| ConfigError::new("--with", format!("can't read {}: {error}", file.display())))?;
    if document.is_empty() {
        return Err(ConfigError::new("--with", format!("{} is empty", file.display())).into());
    }
    Ok(document.into())
}

/// `3 dead letters replayed: 2 accepted, 1 refused again`
fn summary(outcomes: &HashMap<String, Outcome>) -> String {
    let words = [
        ("taken_in", "accepted"),
        ("refused", "refused again"),
        ("too_large", "too large to be sent again"),
        ("not_sent", "not sent"),
        ("undecided", "sent, outcome not known"),
        ("gone", "gone before"),
    ];
    let counts = words.map(|(outcome, words)| (count(outcomes, outcome), words));
    let counts = counts.into_iter().enumerate().filter(|(index, (count, _))| *index < 2 || *count > 0);
    let counts: Vec<_> = counts.map(|(_, (count, words))| format!("{count} {words}")).collect();
    format!("{} replayed: {}\n", counted(outcomes.len() as u64, "dead letter"), counts.join(", "))
}

fn count(outcomes: &HashMap<String, Outcome>, outcome: &str) -> usize {
    outcomes.values().filter(|of| of.as_str() == outcome).count()
}

/// For programs: the counts, and the outcome of each.
fn described(keys: &[&str], outcomes: &HashMap<String, Outcome>) -> Value {
    let mut described = json!({ "count": keys.len() });
    for outcome in ["taken_in", "refused", "too_large", "not_sent", "undecided", "gone"] {
        described[outcome] = count(outcomes, outcome).into();
    }
    let each = keys.iter().filter_map(|key| Some(outcomes.get(*key)?.describe(key)));
    described["dead_letters"] = each.collect();
    described
}

/// Explains why dead letters were not accepted, in the order of the list.
fn explain(keys: &[&str], outcomes: &HashMap<String, Outcome>) {
    let why = |key: &&str| {
        Some(match outcomes.get(*key)? {
            Outcome::TakenIn | Outcome::Gone => return None,
            Outcome::Refused(refused) => {
                let reason = refused.refused.as_deref().unwrap_or_default();
                let offset = refused.offset.map_or(String::new(), |offset| offset.to_string());
                let location = location(refused.path.as_deref().unwrap_or_default(), &offset);
                let at = if location.is_empty() { String::new() } else { format!(" at {location}") };
                format!("{key}: refused again: {reason}: {}{at}", refused.detail)
            }
            Outcome::TooLarge(why) | Outcome::NotSent(why) => format!("{key}: not sent: {why}"),
            Outcome::Undecided => format!(
                "{key}: sent, but no outcome within {} s; orderd serve accepts or refuses it once it has \
                 read the stream up to it: check orderd dead-letters list then",
                OUTCOME_TIMEOUT.as_secs()
            ),
        })
    };
    complain_of_some(keys.iter().filter_map(why).collect());
}

/// Names the keys without a dead letter.
fn say_unknown(unknown: &[String]) {
    complain_of_some(unknown.iter().map(|key| format!("there is no dead letter {}", shown(key))).collect());
}

fn complain_of_some(lines: Vec<String>) {
    lines.iter().take(MAX_EXPLAINED).for_each(|line| super::complain(line));
    if lines.len() > MAX_EXPLAINED {
        super::complain(&format!("and {} more; --json lists all", lines.len() - MAX_EXPLAINED));
    }
}

async fn discard(args: DeadLetterDrop) -> anyhow::Result<ExitCode> {
    let store = connect(&args.nats).await?;
    let (letters, unknown) = chosen(&store, &args.which).await?;
    if !unknown.is_empty() {
        say_unknown(&unknown);
        super::complain("nothing is dropped");
        return Ok(ExitCode::FAILURE);
    }
    let count = counted(letters.len() as u64, "dead letter");
    if !args.yes && !letters.is_empty() && !confirmed(&format!("Drop {count} permanently?"))? {
        return Ok(ExitCode::FAILURE);
    }
    let progress = Progress::new(Some(letters.len() as u64), "dead letters");
    let by = Actor::os_user();
    let table = if letters.is_empty() { None } else { orders(&args.pg).await };
    let mut without_note = 0;
    let drop_all = async {
        for letter in &letters {
            let action = Action::begin("drop", &by, &letter.key, "incomplete");
            let dropped = store.discard(&letter.key, &table).await;
            let dropped = dropped.with_context(|| format!("can't drop {}", letter.key))?;
            action.became("dropped");
            without_note += u64::from(dropped == DropNote::NoRoom);
            progress.add(1);
        }
        Ok(())
    };
    unless_interrupted(drop_all).await.context("not all dead letters are dropped; run this again")?;
    progress.finish("dead letters");
    if without_note > 0 {
        let count = counted(without_note, "dead letter");
        super::complain(&format!(
            "orderd: the stream of dead letters had no room for the notes about {count}: if the table is restored, their \
             messages become dead letters again. Make room in the stream"
        ));
    }
    let dropped = json!({ "count": letters.len() });
    super::print(&if args.json { format!("{dropped}\n") } else { format!("{count} dropped\n") })?;
    Ok(ExitCode::SUCCESS)
}

/// The table of orders.
struct Orders {
    connection: Connection,
    table: Table,
    /// It has not answered: it is not waited for again for each dead letter.
    has_failed: AtomicBool,
}

impl Orders {
    async fn has(&self, key: &str) -> anyhow::Result<bool> {
        let asked = async {
            match postgres::existing_ids(&self.connection.client, &self.table, &[key]).await {
                Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(false),
                asked => asked.map(|rows| !rows.is_empty()).map_err(postgres::explain),
            }
        };
        timeout(ROWS_TIMEOUT, asked).await?
    }
}

/// `None`: it can't be reached.
impl OrderTable for Option<Orders> {
    async fn has_row(&self, key: &str) -> Option<bool> {
        let orders = self.as_ref().filter(|orders| !orders.has_failed.load(Ordering::Relaxed))?;
        let has_row = orders.has(key).await.inspect_err(warn_of_unasked_table).ok();
        orders.has_failed.store(has_row.is_none(), Ordering::Relaxed);
        has_row
    }
}

/// `None`: it can't be asked.
async fn orders(args: &PgArgs) -> Option<Orders> {
    let connecting = async {
        let settings = Postgres::new(args)?;
        let connection = postgres::connect_once(&settings).await?;
        let orders = Orders { connection, table: settings.table, has_failed: AtomicBool::new(false) };
        // A role without rights finds out here, once. No order has that key.
        orders.has("").await?;
        anyhow::Ok(orders)
    };
    let connected = timeout(ROWS_TIMEOUT, connecting).await.map_err(anyhow::Error::from).flatten();
    connected.inspect_err(warn_of_unasked_table).ok()
}

fn warn_of_unasked_table(error: &anyhow::Error) {
    super::complain(&format!(
        "orderd: dropping without asking the table: if the table has a row with one of these keys, a restore to before \
         that row does not bring it back. The table can't be asked: {error:#}"
    ));
}

async fn connect(args: &NatsArgs) -> anyhow::Result<DeadLetterStore> {
    let settings = Nats::new(args)?;
    opened(nats::connect_usable(&settings).await?, &settings).await
}

async fn opened(client: Client, settings: &Nats) -> anyhow::Result<DeadLetterStore> {
    let store = DeadLetterStore::new(client, settings);
    store.refuse_wrong_stream().await?;
    Ok(store)
}

/// The selected dead letters, and the given keys without one: each once.
///
/// # Errors
/// NATS does not answer.
async fn chosen(
    store: &DeadLetterStore,
    which: &WhichDeadLetters,
) -> anyhow::Result<(Vec<DeadLetter>, Vec<String>)> {
    let mut letters = if which.keys.is_empty() { list::all(store).await? } else { Vec::new() };
    let mut unknown = Vec::new();
    for (index, key) in which.keys.iter().enumerate() {
        if !which.keys[..index].contains(key) {
            match store.find(key).await? {
                Some(letter) => letters.push(letter),
                None => unknown.push(key.clone()),
            }
        }
    }
    letters.retain(|letter| is_for(letter, which.reason.as_deref()));
    Ok((letters, unknown))
}

fn is_for(letter: &DeadLetter, reason: Option<&str>) -> bool {
    reason.is_none_or(|reason| letter.header(header::REASON) == reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_no_line_ends_with_blanks() {
        let row = |cells: [&str; 5]| cells.map(str::to_owned);
        let rows = [
            row([
                "1795511953112715271-11",
                &milliseconds("2026-11-24T09:19:13.112715271Z"),
                "wrong_type",
                "$.я",
                "16",
            ]),
            row(["1-2", &milliseconds("2026-11-24T09:19:13Z"), "invalid_utf8", "", ""]),
        ];
        let printed = "\
KEY                     TIME                      REASON        PLACE  BYTES
1795511953112715271-11  2026-11-24T09:19:13.112Z  wrong_type    $.я    16
1-2                     2026-11-24T09:19:13.000Z  invalid_utf8
";
        assert_eq!(table(&rows), printed);
        assert_eq!(milliseconds("unknown"), "unknown");
    }

    #[test]
    fn location_of_a_refusal_names_its_offset_as_a_byte() {
        assert_eq!(location("$.payment.amount", "37"), "$.payment.amount, byte 37");
        assert_eq!((location("", "0"), location("$", "")), ("byte 0".into(), "$".into()));
        assert_eq!(location("", ""), "");
    }

    #[test]
    fn summary_counts_accepted_and_refused_dead_letters() {
        let outcomes = |all: &[Outcome]| -> HashMap<String, Outcome> {
            all.iter().enumerate().map(|(number, outcome)| (format!("1-{number}"), outcome.clone())).collect()
        };
        assert_eq!(summary(&outcomes(&[])), "0 dead letters replayed: 0 accepted, 0 refused again\n");
        let some = outcomes(&[Outcome::TakenIn, Outcome::TakenIn, Outcome::Undecided]);
        assert_eq!(
            summary(&some),
            "3 dead letters replayed: 2 accepted, 0 refused again, 1 sent, outcome not known\n"
        );
        let described = described(&["1-0", "1-1", "1-2"], &some);
        assert_eq!((&described["count"], &described["taken_in"]), (&3.into(), &2.into()));
        assert_eq!(described["dead_letters"][2], json!({ "key": "1-2", "outcome": "undecided" }));
    }
}
