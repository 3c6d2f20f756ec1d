//! Writes log lines to stderr on a separate thread, so that a slow reader of stderr never blocks the service. If nobody
//! reads the pipe, its reader is gone or the disk is full, only lines are lost.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

/// Lines that wait to be written; further ones are lost.
const MAX_LINES: usize = 4096;

/// Time limit for the last lines of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

static STDERR: OnceLock<LogWriter> = OnceLock::new();

enum Entry {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

/// Takes lines, and never blocks.
#[derive(Clone)]
pub struct LogWriter {
    entries: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

/// The writer to stderr; its thread starts at the first call.
pub fn stderr() -> LogWriter {
    STDERR.get_or_init(|| LogWriter::to(io::stderr())).clone()
}

/// Writes the last words of the process, if they can be written at once, and all lines before them.
pub fn finish(last: &str) {
    let mut log = stderr();
    // Never an error.
    drop(log.write_all(last.as_bytes()));
    log.flush_within(FLUSH_TIMEOUT);
}

impl LogWriter {
    fn to(output: impl Write + Send + 'static) -> Self {
        let (entries, waiting) = sync_channel(MAX_LINES);
        let dropped = Arc::<AtomicU64>::default();
        let counted = dropped.clone();
        // Without the thread all lines are lost, as without stderr.
        drop(thread::Builder::new().name("log".into()).spawn(move || write_out(&waiting, output, &counted)));
        Self { entries, dropped }
    }

    /// Waits until the lines so far are written, but no longer than this.
    fn flush_within(&self, limit: Duration) {
        let (written, wait) = channel();
        if self.entries.try_send(Entry::Flush(written)).is_ok() {
            let _ = wait.recv_timeout(limit);
        }
    }
}

/// Each call has a whole line.
impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.entries.try_send(Entry::Line(line.to_owned())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Errors are dropped: stderr was the only place to report them.
fn write_out(entries: &Receiver<Entry>, mut output: impl Write, dropped: &AtomicU64) {
    for entry in entries {
        match entry {
            Entry::Line(line) => drop(output.write_all(&line)),
            // The caller may have stopped waiting.
            Entry::Flush(written) => {
                let _ = written.send(());
            }
        }
        let dropped = dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            drop(writeln!(output, "{dropped} log lines were lost: stderr was not read in time"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test output that fails, or waits for a permit for each write.
    struct Output {
        ready: Option<Receiver<()>>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let Some(ready) = &self.ready else { return Err(io::ErrorKind::StorageFull.into()) };
            ready.recv().ok();
            drop(self.written.send(bytes.to_owned()));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_beyond_the_bound_are_lost_and_counted() {
        let ((read, ready), (written, lines)) = (channel(), channel());
        let mut log = LogWriter::to(Output { ready: Some(ready), written });
        for number in 0..MAX_LINES + 100 {
            log.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        log.flush_within(Duration::from_millis(10));
        drop(read);
        let (mut count, mut report) = (0, Vec::new());
        while count < MAX_LINES || !String::from_utf8_lossy(&report).contains("lost") {
            let line = lines.recv_timeout(Duration::from_secs(60)).unwrap();
            count += usize::from(
                line.ends_with(b"\n") && line.iter().filter(|b| b.is_ascii_digit()).count() == line.len() - 1,
            );
            report.extend(line);
        }
        assert!(count <= MAX_LINES + 1, "{count}");
    }

    #[test]
    fn an_output_that_fails_harms_nothing() {
        let (written, _lines) = channel();
        let mut log = LogWriter::to(Output { ready: None, written });
        log.write_all(b"a line\n").unwrap();
        log.flush_within(Duration::from_secs(60));
        log.write_all(b"another\n").unwrap();
    }
}
