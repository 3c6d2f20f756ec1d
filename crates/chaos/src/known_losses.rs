//! Messages that NATS acknowledged and lost, and whether the services reported them.

/// The losses of a round.
#[derive(Default)]
pub(crate) struct Losses {
    faults: Vec<KnownAtFault>,
    /// Missing orders that a service could know of, by stream sequence.
    to_be_said: Vec<u64>,
}

/// The knowledge of a service when a fault hit.
struct KnownAtFault {
    /// Number of messages published by then.
    published: usize,
    /// The table's position, which every service that is not killed has seen.
    position: u64,
}

impl Losses {
    /// A fault comes.
    pub(crate) fn strike(&mut self, published: usize, position: u64) {
        self.faults.push(KnownAtFault { published, position });
    }

    /// The service ends before it can see what the last fault has lost.
    pub(crate) fn end_unaware(&mut self) {
        if let Some(last) = self.faults.last_mut() {
            last.position = 0;
        }
    }

    /// Adds an order that neither table nor stream has. A service could know of it if the position had passed it when
    /// the next fault hit, or if its sequence is a gap between the stream's first and last message.
    pub(crate) fn add(&mut self, number: usize, sequence: u64, is_taken: bool, (first, last): (u64, u64)) {
        let next = self.faults.iter().find(|fault| number < fault.published);
        let is_empty = !is_taken && (first..=last).contains(&sequence);
        if next.is_some_and(|fault| sequence <= fault.position) || is_empty {
            self.to_be_said.push(sequence);
        }
    }

    /// The violation, given the number of messages that the services have reported as lost.
    pub(crate) fn unreported(&self, said: u64) -> Option<String> {
        let must = self.to_be_said.len() as u64;
        let (first, last) = (self.to_be_said.iter().min(), self.to_be_said.iter().max());
        (said < must).then(|| {
            format!(
                "{must} orders of {first:?} to {last:?} are lost, which the services could know, and they have said {said}"
            )
        })
    }
}

/// The number of lost messages that a log reports.
pub(crate) fn reported_losses(log: &str) -> u64 {
    let lines = log.lines().filter(|line| line.contains("left the stream before they were read"));
    let counts = lines.filter_map(|line| {
        let (_, rest) = line.split_once("lost=")?;
        rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse::<u64>().ok()
    });
    counts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_counted_as_far_as_they_could_be_known() {
        let mut losses = Losses::default();
        losses.strike(30, 10);
        losses.strike(60, 20);
        let bounds = (1, 20);
        // Committed when the next fault hit.
        losses.add(9, 9, true, bounds);
        // Uncommitted: with another message at its sequence, with a gap, and beyond the stream's end.
        losses.add(15, 15, true, bounds);
        losses.add(16, 16, false, bounds);
        losses.add(25, 25, false, bounds);
        // By its sequence alone it would have been known at the earlier fault.
        losses.add(70, 5, true, bounds);
        assert!(
            losses.unreported(1).is_some_and(|words| words.starts_with("2 orders of Some(9) to Some(16)"))
        );
        assert_eq!(losses.unreported(2), None);
    }

    #[test]
    fn service_that_ends_before_it_sees_a_loss_need_not_say_it() {
        for is_aware in [true, false] {
            let mut losses = Losses::default();
            losses.strike(30, 10);
            if !is_aware {
                losses.end_unaware();
            }
            losses.strike(60, 0);
            losses.add(9, 9, true, (1, 20));
            assert_eq!(losses.unreported(0).is_some(), is_aware);
        }
    }

    #[test]
    fn counts_in_a_log_are_added() {
        let line =
            "ERROR messages left the stream before they were read; the position passes over them lost=";
        assert_eq!(reported_losses(&format!("{line}7 after=3\nINFO lost=5\n{line}30 after=12")), 37);
    }
}
