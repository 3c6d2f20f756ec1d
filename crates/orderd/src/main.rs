//! The command `orderd`.

use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use orderd::cli::{self, Command, CommandLineError, LogFormat, ServeArgs};
use orderd::config::{ConfigError, Settings};
use orderd::logging::{self, audit};
use orderd::{commands, shutdown, version};
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Orders are small and many; this allocator wastes the least on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    version::set_revision(revision::revision!());
    let cli = match cli::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(CommandLineError::Usage(error)) => error.exit(),
        Err(CommandLineError::Variable(error)) => return fail(&error.into()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let ended = runtime.block_on(run(cli.command));
    // A query that waits for a lock would keep its backend after this process has ended.
    runtime.block_on(orderd::connections_closed());
    // Tasks that still wait, for example for a dead server, end with the process; running ones may finish, so that they
    // log nothing after the error.
    runtime.shutdown_timeout(Duration::from_millis(500));
    let code = ended.unwrap_or_else(|error| fail(&error));
    logging::writer::finish("");
    code
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    if matches!(command, Command::DeadLetters(_) | Command::Erase(_)) {
        log_audit();
    }
    // `serve` logs them, and `check --settings` reports them.
    if !matches!(
        command,
        Command::Serve(_) | Command::Check(_) | Command::Completions(_) | Command::Manual(_)
    ) {
        commands::complain_of_misspelt_variables();
    }
    match command {
        Command::Serve(args) => serve(args).await.map(|()| ExitCode::SUCCESS),
        Command::Publish(args) => commands::publish::run(args).await,
        Command::Export(args) => commands::export::run(args).await,
        Command::Import(args) => commands::import::run(args).await,
        Command::Check(args) => commands::check::run(args).await,
        Command::DeadLetters(args) => commands::dead_letters::run(args).await,
        Command::Verify(args) => commands::verify::run(args).await,
        Command::Model(args) => commands::model::run(args).await,
        Command::Erase(args) => commands::erase::run(args).await,
        Command::Completions(args) => commands::completions::run(&args),
        Command::Manual(args) => commands::manual::run(&args),
        #[cfg(feature = "drain-stan")]
        Command::DrainStan(args) => commands::drain_stan::run(args).await,
    }
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let settings = Settings::new(&args)?;
    log(&args)?;
    cli::misspelt().iter().for_each(|variable| tracing::warn!("{variable}"));
    allow_open_files();
    take_small_pages();
    let shutdown = shutdown::signals()?;
    let addr = settings.http.addr;
    let listener = orderd::listen(addr);
    let listener = listener.map_err(|error| {
        anyhow::anyhow!("can't listen on HTTP_ADDR {addr}: {error}; set HTTP_ADDR to a free address")
    })?;
    tracing::info!(addr = %listener.local_addr()?, "listening");
    let told = OnceLock::new();
    let shutdown = async {
        shutdown.await;
        told.get_or_init(Instant::now);
    };
    orderd::run(settings, listener, shutdown).await?;
    let seconds = told.get().map_or(0.0, |told| told.elapsed().as_secs_f64());
    tracing::info!(seconds = format!("{seconds:.2}"), "stopped");
    Ok(())
}

/// Each connection is an open file, of which most systems let a program have a thousand unless it asks for more.
fn allow_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "can't raise the limit of open files");
    }
}

/// New memory is a large part of an order's cost. A virtual machine's host may have to provide a huge page of two MiB
/// piece by piece, and each piece costs five times as much as memory that the machine already has, from which small
/// pages mostly come.
fn take_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "can't disable huge pages");
    }
}

fn log(args: &ServeArgs) -> anyhow::Result<()> {
    let filter = logging::filter::parse(&args.log)?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(logging::writer::stderr).with_ansi(colours);
    // Lines of libraries below that level quote passwords and orders.
    let sober = filter_fn(|said| said.target().starts_with("orderd") || *said.level() <= Level::INFO);
    // Without this hint, each suppressed log line is filtered individually, several per message.
    let sober = sober.with_max_level_hint(filter.max_level_hint().unwrap_or(LevelFilter::TRACE));
    let log = tracing_subscriber::registry().with(filter).with(sober);
    match args.log_format {
        LogFormat::Text => log.with(lines).init(),
        LogFormat::Json => log.with(lines.json().flatten_event(true)).init(),
    }
    // A panic's message may quote data; the location is enough to find it.
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, "panicked");
    }));
    Ok(())
}

/// Commands that change data write audit lines, in the format of LOG_FORMAT.
fn log_audit() {
    let is_json = std::env::var("LOG_FORMAT").is_ok_and(|form| form.trim().eq_ignore_ascii_case("json"));
    let lines = tracing_subscriber::fmt::layer().with_writer(logging::writer::stderr).with_ansi(false);
    let audit = filter_fn(|said| said.target() == audit::TARGET && *said.level() <= Level::INFO);
    let log = tracing_subscriber::registry().with(audit.with_max_level_hint(LevelFilter::INFO));
    if is_json {
        log.with(lines.json().flatten_event(true)).init();
    } else {
        log.with(lines).init();
    }
}

/// Wrong usage or configuration is 2, whatever else fails is 1.
fn fail(error: &anyhow::Error) -> ExitCode {
    logging::writer::finish(&format!("orderd: {error:#}\n"));
    ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
}
