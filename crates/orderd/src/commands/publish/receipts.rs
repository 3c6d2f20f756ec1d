//! `--wait-committed`: collects the receipts of the messages that were sent.
//!
//! A receipt's subject has the number of its message, so that nothing is kept for a message but one bit.

use std::time::Duration;

use async_nats::{Client, Subscriber};
use futures_util::StreamExt as _;
use tokio::sync::watch;

use super::documents;
use crate::receipts::Receipt;

/// How far a receipt may be ahead of missing ones, in words of 64 messages, so that a foreign message can't take
/// memory.
const MAX_AHEAD: usize = 1 << 16;

/// Number of refused messages that are listed.
const MAX_LISTED: usize = 10;

/// The receipts on an inbox of this run.
pub(super) struct ReceiptInbox {
    inbox: String,
    tally: watch::Receiver<Tally>,
}

impl ReceiptInbox {
    /// Subscribes before the first message is sent: the server takes both in this order.
    pub(super) async fn subscribe(client: &Client) -> anyhow::Result<Self> {
        let inbox = client.new_inbox();
        let subscriber = client.subscribe(format!("{inbox}.>")).await?;
        let (sender, tally) = watch::channel(Tally::default());
        tokio::spawn(read(subscriber, inbox.clone(), sender));
        Ok(Self { inbox, tally })
    }

    pub(super) fn inbox(&self) -> &str {
        &self.inbox
    }

    /// Waits until this many messages have a receipt, or no receipt comes for `timeout`.
    pub(super) async fn wait(&mut self, sent: u64, timeout: Duration) -> Tally {
        while self.tally.borrow_and_update().answered() < sent {
            if !matches!(tokio::time::timeout(timeout, self.tally.changed()).await, Ok(Ok(()))) {
                break;
            }
        }
        self.tally.borrow().clone()
    }
}

/// The subject for the receipt of a message.
pub(super) fn subject(inbox: &str, number: u64, line: Option<usize>) -> String {
    format!("{inbox}.{number}.{}", line.unwrap_or(0))
}

/// The number and the line that [`subject`] wrote.
fn message(inbox: &str, subject: &str) -> Option<(u64, Option<usize>)> {
    let (number, line) = subject.strip_prefix(inbox)?.strip_prefix('.')?.split_once('.')?;
    Some((number.parse().ok()?, Some(line.parse().ok()?).filter(|line| *line > 0)))
}

async fn read(mut subscriber: Subscriber, inbox: String, tally: watch::Sender<Tally>) {
    while let Some(received) = subscriber.next().await {
        let Some((number, line)) = message(&inbox, &received.subject) else { continue };
        if let Some(receipt) = Receipt::read(&received) {
            tally.send_modify(|tally| tally.add(number, line, &receipt));
        }
    }
}

/// The messages that have a receipt.
#[derive(Clone, Default)]
pub(super) struct Tally {
    /// One bit for each message, so that a second receipt counts nothing.
    has_receipt: Vec<u64>,
    pub(super) committed: u64,
    pub(super) refused: u64,
    /// The first refused messages, in words.
    listed: Vec<String>,
}

impl Tally {
    fn answered(&self) -> u64 {
        self.committed + self.refused
    }

    fn add(&mut self, number: u64, line: Option<usize>, receipt: &Receipt) {
        let (Ok(word), bit) = (usize::try_from(number / 64), 1 << (number % 64)) else { return };
        if word > self.has_receipt.len() + MAX_AHEAD {
            return;
        }
        if self.has_receipt.len() <= word {
            self.has_receipt.resize(word + 1, 0);
        }
        if self.has_receipt[word] & bit != 0 {
            return;
        }
        self.has_receipt[word] |= bit;
        match &receipt.refused {
            None => self.committed += 1,
            Some(reason) => {
                self.refused += 1;
                if self.listed.len() < MAX_LISTED {
                    self.listed.push(refused(&documents::name(number, line), reason, receipt));
                }
            }
        }
    }

    /// `3 committed, 1 refused, 2 unknown`
    pub(super) fn summary(&self, sent: u64) -> String {
        let unknown = sent.saturating_sub(self.answered());
        let mut text = format!("{} committed, {} refused", self.committed, self.refused);
        if unknown > 0 {
            text += &format!(", {unknown} unknown");
        }
        text
    }

    /// The problem and the fix; `None` if all messages are committed.
    pub(super) fn complaint(&self, sent: u64, timeout: Duration, inbox: &str) -> Option<String> {
        let mut parts = Vec::new();
        if self.refused > 0 {
            let more = self.refused - self.listed.len() as u64;
            let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
            let listed = self.listed.join("\n  ");
            parts.push(format!(
                "refused:\n  {listed}{more}\nThey are dead letters: `orderd dead-letters show KEY` shows one, \
                 `replay` sends it again after a fix"
            ));
        }
        let unknown = sent.saturating_sub(self.answered());
        if unknown > 0 {
            let seconds = timeout.as_secs();
            let check = if self.answered() == 0 {
                format!(
                    "check that `orderd serve` runs on this stream and is ready (/readyz), and that its \
                     RECEIPT_SUBJECTS cover {inbox}.>"
                )
            } else {
                "a receipt is sent at most once, so they may still be committed: query \
                 /order?MEMBER=VALUE, and `orderd dead-letters list`"
                    .to_owned()
            };
            parts.push(format!(
                "no receipt for {unknown} of {sent} within {seconds} s, so that their outcome is unknown; {check}"
            ));
        }
        (!parts.is_empty()).then(|| parts.join("\n"))
    }
}

fn refused(name: &str, reason: &str, receipt: &Receipt) -> String {
    let path = receipt.path.as_deref().map(|path| format!(" at {path}")).unwrap_or_default();
    let detail = if receipt.detail.is_empty() { String::new() } else { format!(": {}", receipt.detail) };
    format!("{name}, key {}: {reason}{path}{detail}", receipt.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(refused: Option<&str>) -> Receipt {
        let refused = refused.map(str::to_owned);
        Receipt { refused, key: "1-1".into(), detail: "why".into(), path: Some("$.a".into()), offset: None }
    }

    #[test]
    fn a_second_receipt_counts_nothing_and_a_missing_one_is_unknown() {
        let mut tally = Tally::default();
        for number in [1, 1, 64, 200, 200] {
            tally.add(number, None, &receipt(None));
        }
        tally.add(3, Some(7), &receipt(Some("wrong_type")));
        tally.add(3, Some(7), &receipt(None));
        assert_eq!(tally.summary(5), "3 committed, 1 refused, 1 unknown");
        assert_eq!(tally.summary(4), "3 committed, 1 refused");
        let said = tally.complaint(5, Duration::from_secs(30), "_INBOX.x").unwrap();
        let refused = "the document at line 7, key 1-1: wrong_type at $.a: why";
        assert!(said.contains(refused) && said.contains("for 1 of 5"), "{said}");
    }

    #[test]
    fn all_committed_is_no_complaint() {
        let mut tally = Tally::default();
        tally.add(1, None, &receipt(None));
        assert!(tally.complaint(1, Duration::from_secs(30), "_INBOX.x").is_none());
        let said = Tally::default().complaint(1, Duration::from_secs(30), "_INBOX.x").unwrap();
        assert!(said.contains("RECEIPT_SUBJECTS cover _INBOX.x.>"), "{said}");
    }

    #[test]
    fn a_subject_names_its_message() {
        assert_eq!(message("_INBOX.x", &subject("_INBOX.x", 12, Some(34))), Some((12, Some(34))));
        assert_eq!(message("_INBOX.x", &subject("_INBOX.x", 12, None)), Some((12, None)));
        for other in ["_INBOX.y.1.1", "_INBOX.x.1", "_INBOX.x.a.1", "_INBOX.x"] {
            assert_eq!(message("_INBOX.x", other), None);
        }
    }
}
