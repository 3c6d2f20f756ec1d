//! `orderd erase`: erases orders everywhere, permanently.

use std::collections::HashSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use cache::MAX_LIMIT;
use model::Model;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio_postgres::error::SqlState;

use super::confirm::confirmed;
use super::http_client;
use super::interruption::unless_interrupted;
use super::progress::Progress;
use crate::cli::EraseArgs;
use crate::config::{self, ConfigError, Http, Nats, Postgres, Table};
use crate::dead_letters::store::DeadLetterStore;
use crate::erasure::{ConnectedEraser, Eraser, OrderTraces, TraceCounts};
use crate::http::MEMBER;
use crate::logging::audit::{Action, Actor};
use crate::nats::stream_scan::Scan;
use crate::nats::{self, orders_stream};
use crate::postgres::old_partitions::{self, Hindrance};
use crate::postgres::position::{self, PositionKey};
use crate::postgres::{self, Connection, old_rows};
use crate::retention::expiry;
use crate::wording::{counted, shown};

/// Time limit for the service to stop showing erased orders.
const VISIBLE_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Maximum number of ids without data to list.
const MAX_NAMED: usize = 20;

/// What an error means for the user.
const INCOMPLETE: &str = "not everything is erased; run this again";

/// Erases each. 1: of one there was nothing, the question was answered by no, or something could not be erased
/// everywhere.
///
/// # Errors
/// What could not be reached, or refuses.
pub async fn run(args: EraseArgs) -> anyhow::Result<ExitCode> {
    let http = Http::new(&args.http)?;
    let nats = Nats::new(&args.nats)?;
    let postgres = Postgres::new(&args.pg)?;
    let model = config::model(&args.model)?;
    let criterion = args.criterion.as_deref().map(Criterion::parse).transpose()?;
    let age = config::keep("--older-than", args.older_than.as_deref())?;
    let consent = if args.dry_run { Consent::DryRun } else { Consent::of(args.yes) };
    let client = nats::connect_usable(&nats).await?;
    // Otherwise, dead letters would stay and not be missed.
    DeadLetterStore::new(client.clone(), &nats).refuse_wrong_stream().await?;
    let eraser = Eraser { postgres, nats, client };
    let mut erasing = eraser.connect().await?;
    match (criterion, age) {
        (Some(criterion), _) => erase_all_with(&mut erasing, &http, &criterion, consent, &model).await,
        (None, Some(age)) => {
            let age = (age, args.older_than.as_deref().unwrap_or_default());
            erase_older(&mut erasing, &eraser, age, consent, &model).await
        }
        (None, None) => erase_each(&mut erasing, distinct(args.ids), consent, &model).await,
    }
}

/// Whether the found orders may be erased.
#[derive(Clone, Copy)]
enum Consent {
    Given,
    /// Ask the user.
    Asked,
    /// Print what would be erased, and change nothing.
    DryRun,
}

impl Consent {
    fn of(yes: bool) -> Self {
        if yes { Self::Given } else { Self::Asked }
    }

    /// `None` to continue; otherwise the exit code. `what` describes what will be erased.
    fn end(self, what: &str) -> anyhow::Result<Option<ExitCode>> {
        match self {
            Self::Given => Ok(None),
            Self::Asked if confirmed(&format!("Erase {what} everywhere, permanently?"))? => Ok(None),
            Self::Asked => Ok(Some(ExitCode::FAILURE)),
            Self::DryRun => {
                super::print(&format!("would erase {what}; nothing is changed\n"))?;
                Ok(Some(ExitCode::SUCCESS))
            }
        }
    }
}

fn distinct(mut ids: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    ids
}

async fn erase_each(
    erasing: &mut ConnectedEraser,
    ids: Vec<String>,
    consent: Consent,
    model: &Model,
) -> anyhow::Result<ExitCode> {
    let found = count(erasing, &ids).await?;
    let (there, missing): (Vec<_>, Vec<_>) =
        ids.into_iter().zip(found).partition(|(_, found)| !found.is_nothing());
    name_missing(missing.iter().map(|(id, _)| id.as_str()));
    if there.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let total: TraceCounts = there.iter().map(|(_, found)| *found).sum();
    if let Some(end) = consent.end(&format!("{} ({total})", counted(there.len() as u64, model.noun())))? {
        return Ok(end);
    }
    let ids: Vec<String> = there.into_iter().map(|(id, _)| id).collect();
    let progress = Progress::new(Some(ids.len() as u64), model.plural());
    let erased = unless_interrupted(erase(erasing, &ids, &progress)).await.context(INCOMPLETE)?;
    progress.finish(model.plural());
    let end = erased.say(model)?;
    Ok(if missing.is_empty() { end } else { ExitCode::FAILURE })
}

fn name_missing<'i>(ids: impl ExactSizeIterator<Item = &'i str>) {
    let count = ids.len();
    for id in ids.take(MAX_NAMED) {
        super::complain(&format!("{}: no row, no message and no dead letter has this id", shown(id)));
    }
    if count > MAX_NAMED {
        super::complain(&format!("and {} more ids without any data", count - MAX_NAMED));
    }
}

async fn count(erasing: &mut ConnectedEraser, ids: &[String]) -> anyhow::Result<Vec<TraceCounts>> {
    Ok(erasing.find(ids).await?.iter().map(OrderTraces::count).collect())
}

/// Erases one after the other, with a line in the audit log for each; those with dead letters last.
async fn erase(erasing: &mut ConnectedEraser, ids: &[String], progress: &Progress) -> anyhow::Result<Erased> {
    let by = Actor::os_user();
    let mut all = Erased::default();
    let mut had_dead_letters = Vec::new();
    for (id, found) in ids.iter().zip(erasing.find(ids).await?) {
        let action = Action::begin("erase", &by, id, "incomplete");
        let has_dead_letter = found.has_dead_letter;
        let erased = erasing.erase(id, found, true).await?;
        if has_dead_letter {
            had_dead_letters.push((id, action));
        } else {
            action.became(if erased.is_some() { "erased" } else { "not_found" });
        }
        erased.into_iter().for_each(|traces| all.add(Erased { orders: 1, traces }));
        progress.add(1);
    }
    // One search for all of them, because it reads the stream.
    let keys: Vec<String> = had_dead_letters.iter().map(|(id, _)| (*id).clone()).collect();
    all.traces.messages += erasing.erase_new_replays(&keys).await?;
    had_dead_letters.into_iter().for_each(|(_, action)| action.became("erased"));
    Ok(all)
}

/// Counts of erased data.
#[derive(Default)]
struct Erased {
    orders: u64,
    traces: TraceCounts,
}

impl Erased {
    fn add(&mut self, other: Self) {
        self.orders += other.orders;
        self.traces = self.traces + other.traces;
    }

    /// Prints the counts. Exit code 1 if nothing was left to erase.
    fn say(self, model: &Model) -> anyhow::Result<ExitCode> {
        super::print(&format!("{} erased: {}\n", counted(self.orders, model.noun()), self.traces))?;
        Ok(if self.orders == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// `MEMBER=VALUE`
struct Criterion {
    member: String,
    value: String,
}

impl Criterion {
    fn parse(given: &str) -> Result<Self, ConfigError> {
        let takes =
            || ConfigError::new("--where", "takes MEMBER=VALUE, such as order_uid=b563feb7b2b84b6test");
        let (member, value) = given.split_once('=').ok_or_else(takes)?;
        // An empty value, as from an unset variable of a script, would mean all orders without that member.
        if member.is_empty() || value.is_empty() {
            return Err(takes());
        }
        Ok(Self { member: member.into(), value: value.into() })
    }

    /// The parameter of `/orders`, with the sign of a member: `limit=5` would be another parameter, and all orders would
    /// be meant.
    fn parameter(&self) -> String {
        let sign = if self.member.starts_with(MEMBER) { "" } else { MEMBER };
        format!("{sign}{}", self.member)
    }

    fn path(&self) -> String {
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        format!("/orders?limit={MAX_LIMIT}&{}={}", encoded(&self.parameter()), encoded(&self.value))
    }
}

/// The service shows the newest of them, and those that are erased for up to a second more.
async fn erase_all_with(
    erasing: &mut ConnectedEraser,
    http: &Http,
    criterion: &Criterion,
    consent: Consent,
    model: &Model,
) -> anyhow::Result<ExitCode> {
    let named = format!("{} = {}", criterion.member, shown(&criterion.value));
    let mut first = found(http, criterion).await?;
    let is_whole = first.len() < MAX_LIMIT;
    if is_whole && !matches!(consent, Consent::Given) {
        // Those that were erased a moment ago are not counted.
        let looked = count(erasing, &first).await?;
        let mut looked = looked.iter();
        first.retain(|_| looked.next().is_none_or(|traces| !traces.is_nothing()));
    }
    if first.is_empty() {
        super::complain(&format!("no {} has {named}", model.noun()));
        return Ok(ExitCode::FAILURE);
    }
    let plural = model.plural();
    let count = if is_whole {
        counted(first.len() as u64, model.noun())
    } else {
        format!("{MAX_LIMIT} {plural} or more")
    };
    if let Some(end) = consent.end(&format!("all {plural} with {named} ({count})"))? {
        return Ok(end);
    }
    let progress = Progress::new(Some(0), plural);
    let erased = unless_interrupted(erase_listed(erasing, http, criterion, &progress)).await;
    let erased = erased.context(INCOMPLETE)?;
    progress.finish(model.plural());
    if erased.orders == 0 {
        super::complain(&format!("no {} has {named}", model.noun()));
        return Ok(ExitCode::FAILURE);
    }
    erased.say(model)
}

/// Erases what the service lists, until it lists nothing more.
async fn erase_listed(
    erasing: &mut ConnectedEraser,
    http: &Http,
    criterion: &Criterion,
    progress: &Progress,
) -> anyhow::Result<Erased> {
    let (mut ids, mut erased) = (HashSet::new(), Erased::default());
    let mut changed = Instant::now();
    loop {
        let found = found(http, criterion).await?;
        let new: Vec<_> = found.iter().filter(|id| !ids.contains(*id)).cloned().collect();
        if !new.is_empty() {
            progress.expect(new.len() as u64);
            erased.add(erase(erasing, &new, progress).await?);
            ids.extend(new);
            changed = Instant::now();
        } else if found.len() < MAX_LIMIT {
            return Ok(erased);
        } else {
            anyhow::ensure!(
                changed.elapsed() < VISIBLE_TIMEOUT,
                "the service still shows some that are erased"
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// All that have a dead letter or a row; the dead letters first, so that a document with both is counted once.
async fn erase_older(
    erasing: &mut ConnectedEraser,
    eraser: &Eraser,
    (age, named): (Duration, &str),
    consent: Consent,
    model: &Model,
) -> anyhow::Result<ExitCode> {
    let table = &eraser.postgres.table;
    let Connection { client, .. } = &postgres::connect_once(&eraser.postgres).await?;
    let cutoff = old_rows::cutoff(client, age).await.map_err(postgres::explain)?;
    let rows = old_rows::count(client, table, cutoff).await.map_err(postgres::explain)?;
    let letters = erasing.dead_letters_before(cutoff).await?;
    let letter_count = letters.len() as u64;
    let plural = model.plural();
    let end = if rows == 0 && letters.is_empty() {
        super::complain(&format!("no row and no dead letter is older than {named}"));
        Some(ExitCode::FAILURE)
    } else {
        let counts = format!("{}, {}", counted(rows, "row"), counted(letter_count, "dead letter"));
        consent.end(&format!("all {plural} older than {named} ({counts}) and their messages"))?
    };
    if let Some(end) = end {
        if matches!(consent, Consent::DryRun) {
            say_partitions(client, table, cutoff, named).await?;
            say_messages(client, eraser, cutoff, named).await?;
        }
        return Ok(end);
    }
    let progress = Progress::new(Some(rows + letter_count), plural);
    let erase_all = async {
        let (mut after, mut erased) = (None, Erased::default());
        for keys in letters.chunks(MAX_LIMIT) {
            erased.add(erase(erasing, keys, &progress).await?);
        }
        loop {
            let ids = old_rows::ids(client, table, after.as_deref(), cutoff, MAX_LIMIT as i64).await;
            let ids = ids.map_err(postgres::explain)?;
            let Some(last) = ids.last() else { return Ok(erased) };
            erased.add(erase(erasing, &ids, &progress).await?);
            after = Some(last.clone());
        }
    };
    let erased = unless_interrupted(erase_all).await.context(INCOMPLETE)?;
    progress.finish(plural);
    erased.say(model)
}

/// Which partitions a service with this `KEEP` would drop, and why it would not drop others.
async fn say_partitions(
    client: &tokio_postgres::Client,
    table: &Table,
    cutoff: i128,
    named: &str,
) -> anyhow::Result<()> {
    for partition in old_partitions::find(client, table, cutoff).await.map_err(postgres::explain)? {
        let name = &partition.name;
        let kept = |why: &Hindrance| {
            format!(
                "orderd serve with KEEP={named} would not drop the partition {name}, but delete its old rows: {why}\n"
            )
        };
        let line = if let Some(hindrance) = &partition.hindrance {
            kept(hindrance)
        } else {
            let (rows, stay) =
                old_partitions::count(client, &partition, cutoff).await.map_err(postgres::explain)?;
            let rows = counted(rows, "row");
            let whole =
                format!("orderd serve with KEEP={named} would drop the partition {name}, with {rows}\n");
            if stay > 0 { kept(&Hindrance::RowsThatStay) } else { whole }
        };
        super::print(&line)?;
    }
    Ok(())
}

/// How many messages a service with this `KEEP` would remove from the stream.
async fn say_messages(
    client: &tokio_postgres::Client,
    eraser: &Eraser,
    cutoff: i128,
    named: &str,
) -> anyhow::Result<()> {
    let Eraser { postgres, nats, .. } = eraser;
    let context = nats.jetstream(eraser.client.clone());
    let Some(stream) = orders_stream::find(&context, nats).await? else { return Ok(()) };
    let info = stream.cached_info();
    let name = &info.config.name;
    if !orders_stream::is_made_by_orderd(info) {
        let why = "orderd did not create it";
        super::print(&format!(
            "orderd serve with KEEP={named} would remove no messages from the stream {name}: {why}\n"
        ))?;
        return Ok(());
    }
    let (table, topic) = (postgres.table.clone(), nats.topic.clone());
    let key = PositionKey { table, stream: name.clone(), topic };
    let position = match position::read(client, &key).await {
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => None,
        read => read.map_err(postgres::explain)?,
    };
    let position = position.map_or(0, |position| position.seq);
    let count = match expiry::purge_floor(&context, &stream, position, cutoff).await? {
        None => 0,
        Some(floor) => {
            let count_from = async |start_sequence| {
                let wanted = pull::Config {
                    filter_subject: nats.topic.clone(),
                    deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
                    headers_only: true,
                    ..Default::default()
                };
                anyhow::Ok(Scan::new(&stream, wanted).await?.count)
            };
            // In this order, a message that arrives meanwhile is not counted as one before the floor.
            let all = count_from(info.state.first_sequence).await?;
            all.saturating_sub(count_from(floor).await?)
        }
    };
    let count = counted(count, "message");
    super::print(&format!(
        "orderd serve with KEEP={named} would remove {count} of that age from the stream {name}\n"
    ))?;
    Ok(())
}

/// The ids of orders with that value, from the running service.
async fn found(http: &Http, criterion: &Criterion) -> anyhow::Result<Vec<String>> {
    let (_, state) = http_client::get(http, "/readyz").await?;
    let state: Value = serde_json::from_slice(&state)
        .context("the response of /readyz is not JSON; is HTTP_ADDR orderd's address?")?;
    anyhow::ensure!(
        state["fill"]["up"] == true,
        "the service can't list all of them: {}; run this again when /readyz shows fill up",
        state["fill"]["reason"].as_str().unwrap_or("it is still reading the table")
    );
    let (status, body) = http_client::get(http, &criterion.path()).await?;
    let said = String::from_utf8_lossy(&body);
    if status == hyper::StatusCode::BAD_REQUEST {
        // As the user wrote the member.
        let said = said.trim().replacen(&criterion.parameter(), &criterion.member, 1);
        return Err(ConfigError::new("--where", format!("the service answers: {said}")).into());
    }
    anyhow::ensure!(status.is_success(), "the service can't list them: {}", said.trim());
    serde_json::from_slice(&body).context("the service's answer is not a list of ids")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_criterion_needs_a_member_and_a_value() {
        let parsed = Criterion::parse("delivery.email=a=b&c").unwrap();
        assert_eq!(parsed.path(), "/orders?limit=1000&%24%2Edelivery%2Eemail=a%3Db%26c");
        for given in ["from=F", "$.from=F"] {
            assert_eq!(Criterion::parse(given).unwrap().path(), "/orders?limit=1000&%24%2Efrom=F");
        }
        for wrong in ["", "order_uid", "order_uid=", "=5"] {
            assert!(Criterion::parse(wrong).is_err(), "{wrong}");
        }
    }
}
