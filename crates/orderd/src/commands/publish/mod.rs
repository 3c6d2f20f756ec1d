//! `orderd publish`: sends orders to NATS, each with its own `Nats-Msg-Id`, so that a retry does not create a second
//! order.

mod documents;
mod receipts;
mod sender;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use model::Model;
use model::shape::Kind;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{mpsc, watch};

use self::documents::{Document, DocumentInput};
use self::receipts::ReceiptInbox;
use self::sender::{ConnectionEvents, SendTarget, Sender, note};
use super::progress::Progress;
use crate::cli::PublishArgs;
use crate::config::{self, Nats};
use crate::nats::{self, orders_stream};

const UID: &str = "order_uid";
const CREATED: &str = "date_created";

/// The members of the sample that get a new value in each document.
const RENEWED: [(&str, Kind); 3] = [(UID, Kind::String), ("sm_id", Kind::Int), (CREATED, Kind::String)];

/// Publishes documents. Exit code 0: the server has acknowledged all; with `--core`: all were sent; with
/// `--wait-committed`: all are committed.
///
/// # Errors
/// Why documents could not be sent.
pub async fn run(args: PublishArgs) -> anyhow::Result<ExitCode> {
    let settings = Nats::new(&args.nats)?;
    let model = config::model(&args.model)?;
    let subject = settings.subject(args.subject.as_deref())?;
    if let Some(file) = args.from.as_deref().filter(|file| *file != Path::new("-")) {
        // Before any request to NATS.
        std::fs::metadata(file).with_context(|| format!("can't read {}", file.display()))?;
    }
    let timeout = config::positive_duration("--timeout", &args.timeout)?;
    let mut target = connect(&settings, subject, args.core).await?;
    let receipts = match args.wait_committed {
        true => Some(ReceiptInbox::subscribe(&target.client).await?),
        false => None,
    };
    target.receipts = receipts.as_ref().map(|receipts| receipts.inbox().to_owned());
    let mut sender = Sender::new(target);
    let (mut orders, count) = DocumentSource::open(&args, &model, &sender).await?;
    let progress = Progress::new(count, model.plural());
    let ended = send_all(&mut orders, &mut sender, args.rate, &progress).await;
    // Documents before the error are still sent.
    let settled = match &ended {
        Ok(()) | Err(SendError::Input(_)) => sender.finish().await,
        Err(SendError::Sending(_)) => {
            sender.settle_rest().await;
            Ok(())
        }
    };
    progress.set(sender.sent);
    let line = progress.finish(model.plural());
    let failed = match (ended, settled) {
        (Ok(()), Ok(())) => None,
        (Err(SendError::Sending(error)), _) | (_, Err(error)) => {
            sender.settle_rest().await;
            return Err(error.context(sender.so_far(model.noun())));
        }
        (Err(SendError::Input(error)), Ok(())) => Some(error.context(sender.so_far(model.noun()))),
    };
    if failed.is_none() {
        if args.from.is_some() && sender.sent == 0 {
            super::complain("the input has no document; nothing was sent");
        }
        super::print(&format!("{line}\n"))?;
    }
    let is_committed = match receipts {
        Some(receipts) if sender.sent > 0 => report(receipts, sender.sent, timeout).await?,
        _ => true,
    };
    match failed {
        Some(error) => Err(error),
        None => Ok(if is_committed { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
    }
}

/// Waits for the receipts, and prints the outcomes. Returns whether all are committed.
async fn report(mut receipts: ReceiptInbox, sent: u64, timeout: Duration) -> anyhow::Result<bool> {
    let tally = receipts.wait(sent, timeout).await;
    super::print(&format!("{}\n", tally.summary(sent)))?;
    let complaint = tally.complaint(sent, timeout, receipts.inbox());
    if let Some(complaint) = &complaint {
        super::complain(complaint);
    }
    Ok(complaint.is_none())
}

async fn connect(settings: &Nats, subject: String, core: bool) -> anyhow::Result<SendTarget> {
    let (notes, noted) = watch::channel(ConnectionEvents::default());
    let client = nats::connect_once_observed(settings, move |event| note(&notes, event)).await?;
    if core {
        return Ok(SendTarget { client, subject, stream: None, noted, receipts: None });
    }
    nats::refuse_unusable(&client, settings).await?;
    let stream = orders_stream::find_or_create(&settings.jetstream(client.clone()), settings).await?;
    Ok(SendTarget { client, subject, stream: Some(stream), noted, receipts: None })
}

/// Why not all was sent.
enum SendError {
    /// A document can't be read or sent.
    Input(anyhow::Error),
    Sending(anyhow::Error),
}

async fn send_all(
    orders: &mut DocumentSource,
    sender: &mut Sender,
    rate: f64,
    progress: &Progress,
) -> Result<(), SendError> {
    let begun = Instant::now();
    let mut number = 0_u64;
    while let Some(order) = orders.next().await.map_err(SendError::Input)? {
        number += 1;
        sender.limits().check(&order, number).map_err(SendError::Input)?;
        if rate > 0.0 {
            let due = begun + Duration::from_secs_f64((number - 1) as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
        }
        sender.send(order).await.map_err(SendError::Sending)?;
        progress.add(1);
    }
    Ok(())
}

/// The source of documents: the sample with new values for each, or the input.
enum DocumentSource {
    /// `renewed` names the members with new values.
    Sample {
        sample: Value,
        renewed: Vec<&'static str>,
        left: u64,
        made: i64,
    },
    Documents(mpsc::Receiver<anyhow::Result<Document>>),
}

impl DocumentSource {
    /// Opens the source. Also returns the number of documents, if known.
    async fn open(args: &PublishArgs, model: &Model, sender: &Sender) -> anyhow::Result<(Self, Option<u64>)> {
        let Some(file) = &args.from else {
            let sample = serde_json::from_str(&model.sample)?;
            let made = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
            let members = RENEWED.into_iter().filter(|(name, kind)| has(model, name, kind));
            let renewed = members.map(|(name, _)| name).collect();
            return Ok((Self::Sample { sample, renewed, left: args.count, made }, Some(args.count)));
        };
        let (limits, mut number) = (sender.limits().clone(), 0);
        let check = move |document: &Document| {
            number += 1;
            limits.check(document, number)
        };
        let source = DocumentInput::open(file, check).await?;
        let count = source.count();
        Ok((Self::Documents(source.start()), count))
    }

    async fn next(&mut self) -> anyhow::Result<Option<Document>> {
        match self {
            Self::Sample { left: 0, .. } => Ok(None),
            Self::Sample { sample, renewed: members, left, made } => {
                *left -= 1;
                *made += 1;
                Ok(Some(renewed(sample, members, *made)?))
            }
            Self::Documents(documents) => documents.recv().await.transpose(),
        }
    }
}

/// Whether a model has the member as orders have it: another one may have a member of this name and of another type.
fn has(model: &Model, name: &str, kind: &Kind) -> bool {
    // With MODEL=any, the sample is the built-in order.
    model.is_any() || model.shape().member(name).is_some_and(|(_, member)| member.kind == *kind)
}

/// The sample with new values in these members.
fn renewed(sample: &mut Value, members: &[&str], number: i64) -> anyhow::Result<Document> {
    for &name in members {
        if let Some(member) = sample.get_mut(name) {
            *member = match name {
                UID => format!("{number:016x}test").into(),
                CREATED => OffsetDateTime::now_utc().format(&Rfc3339)?.into(),
                _ => number.into(),
            };
        }
    }
    Ok(Document { bytes: serde_json::to_vec(sample)?.into(), line: None })
}
