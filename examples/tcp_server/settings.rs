//! What the command line says, what follows from it, and how the server fails.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use lexopt::prelude::*;
use switchboard::filter::WordFilter;
use switchboard::hub::ShutdownReport;
use switchboard::signature::Keys;
use switchboard::store::memory::MemoryStore;
use switchboard::store::sled::{SledOptions, SledStore};
use switchboard::store::{Durability, Store, StoreError};
use switchboard::{Config, ConnectionConfig, SignatureChecks};
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::handles;

/// Where the server listens unless it is told otherwise; the example `chat` connects there.
pub(crate) const LISTEN: &str = "127.0.0.1:7100";
const HELP: &str = "\
A Switchboard server on TCP: one JSON frame a line.

Usage: tcp_server [OPTIONS]

  --listen ADDR          where to listen                        [127.0.0.1:7100]
  --data DIR             where messages are kept                [switchboard-data]
  --durability MODE      what an acknowledged message survives: [fsync]
                           fsync    a power cut
                           process  the end of the process (a power cut may take the last 10 s)
                           memory   nothing; no DIR is used
  --app-id ID            frames that name another application are refused
  --master-key KEY       at least 16 bytes: opening, watching and group actions must be signed with it,
                         and only who is watched can be messaged
  --word-list FILE       words to mask in messages, one a line
  --connections-max N    connections at once; half of them may be without a session
                         [2000, or as many as the process's file handles allow]
  --log LEVEL            off, error, warn, info, debug or trace: what is written to the standard error
                         stream [info; RUST_LOG may say it too, also for parts: tcp_server=debug]
  --help                 this text

Ctrl-C (SIGINT), SIGTERM or SIGHUP stop the server: it stores what it has taken, and tells its clients.
Exit codes: 0 stopped by SIGINT or SIGTERM, everything stored · 1 something else failed
  2 wrong arguments · 3 cannot listen · 4 the store cannot be opened · 5 stopped, but not everything was stored
";

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: String,
    pub(crate) data: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) app_id: Option<String>,
    pub(crate) master_key: Option<String>,
    word_list: Option<PathBuf>,
    connections_max: Option<usize>,
    log: Option<LevelFilter>,
}

impl Settings {
    /// Reads the command line; none where only help was wanted.
    pub(crate) fn from_args() -> Result<Option<Self>, Failure> {
        let usage = |error: lexopt::Error| Failure::Usage(error.to_string());
        let settings = Self::parse(lexopt::Parser::from_env()).map_err(usage)?;
        match &settings {
            // Nobody may be reading it any more.
            None => _ = io::stdout().write_all(HELP.as_bytes()),
            Some(settings) => settings.check()?,
        }
        Ok(settings)
    }

    fn parse(mut args: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        let mut settings = Self {
            listen: LISTEN.to_owned(),
            data: PathBuf::from("switchboard-data"),
            durability: Durability::Fsync,
            app_id: None,
            master_key: None,
            word_list: None,
            connections_max: None,
            log: None,
        };
        while let Some(arg) = args.next()? {
            match arg {
                Long("listen") => settings.listen = args.value()?.string()?,
                Long("data") => settings.data = args.value()?.into(),
                Long("durability") => settings.durability = args.value()?.parse_with(durability)?,
                Long("app-id") => settings.app_id = Some(args.value()?.string()?),
                Long("master-key") => settings.master_key = Some(args.value()?.string()?),
                Long("word-list") => settings.word_list = Some(args.value()?.into()),
                Long("connections-max") => settings.connections_max = Some(args.value()?.parse()?),
                Long("log") => settings.log = Some(args.value()?.parse_with(level)?),
                Short('h') | Long("help") => return Ok(None),
                _ => return Err(arg.unexpected()),
            }
        }
        Ok(Some(settings))
    }

    fn check(&self) -> Result<(), Failure> {
        let usage = |error: &dyn std::fmt::Display| Failure::Usage(error.to_string());
        if self.connections_max == Some(0) {
            return Err(usage(&"--connections-max must be at least 1"));
        }
        if self.master_key.as_ref().is_some_and(|key| key.len() < Keys::KEY_BYTES_MIN) {
            return Err(usage(&"--master-key must have at least 16 bytes"));
        }
        self.engine().validate().map_err(|error| usage(&error))
    }

    /// How many connections there may be, with the handles that they need.
    pub(crate) fn connections_max(&self) -> Result<usize, Failure> {
        handles::connections_max(self.connections_max).map_err(Failure::Usage)
    }

    /// What is logged: as the command line says, or RUST_LOG.
    pub(crate) fn log_levels(&self) -> Result<Targets, Failure> {
        match (self.log, std::env::var("RUST_LOG")) {
            (Some(level), _) => Ok(Targets::new().with_default(level)),
            (None, Ok(levels)) => levels.parse().map_err(|error| Failure::Usage(format!("RUST_LOG={levels}: {error}"))),
            (None, Err(_)) => Ok(Targets::new().with_default(LevelFilter::INFO)),
        }
    }

    /// The engine's settings.
    pub(crate) fn engine(&self) -> Config {
        let defaults = Config::default();
        Config {
            app_id: self.app_id.clone().unwrap_or(defaults.app_id),
            master_keys: self.master_key.iter().map(|key| key.clone().into_bytes()).collect(),
            signatures: if self.master_key.is_some() { SignatureChecks::ALL } else { SignatureChecks::default() },
            // Nobody here listens for single messages.
            tell_sent: false,
            ..defaults
        }
    }

    /// The settings of each connection.
    pub(crate) fn connection(&self) -> ConnectionConfig {
        ConnectionConfig { app_id: self.app_id.clone(), ..ConnectionConfig::default() }
    }

    pub(crate) fn open_store(&self) -> Result<Arc<dyn Store>, Failure> {
        if self.durability == Durability::Memory {
            return Ok(Arc::new(MemoryStore::new()));
        }
        let options = SledOptions::new(&self.data).durability(self.durability);
        let options = options.map_err(|error| Failure::Usage(error.to_string()))?;
        let store = SledStore::open(options).map_err(|error| self.cannot_open(&error))?;
        Ok(Arc::new(store))
    }

    fn cannot_open(&self, error: &StoreError) -> Failure {
        Failure::Store(match error {
            StoreError::Locked { .. } => {
                let data = self.data.display();
                format!("{data} is in use by another server; choose another folder with --data")
            }
            _ => error.to_string(),
        })
    }

    pub(crate) fn cannot_listen(&self, error: &io::Error) -> Failure {
        let listen = &self.listen;
        Failure::Listen(match error.kind() {
            ErrorKind::AddrInUse => format!("{listen} is in use; choose another port with --listen"),
            _ => format!("cannot listen on {listen}: {error}"),
        })
    }

    /// The words to mask.
    pub(crate) fn word_filter(&self) -> Result<Option<WordFilter>, Failure> {
        let failed = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::Usage(format!("word list {}: {error}", path.display()))
        };
        let Some(path) = &self.word_list else { return Ok(None) };
        let words = std::fs::read_to_string(path).map_err(|error| failed(path, &error))?;
        WordFilter::new(words.lines()).map(Some).map_err(|error| failed(path, &error))
    }
}

fn durability(text: &str) -> Result<Durability, &'static str> {
    match text {
        "fsync" => Ok(Durability::Fsync),
        "process" => Ok(Durability::Process),
        "memory" => Ok(Durability::Memory),
        _ => Err("must be fsync, process or memory"),
    }
}

fn level(text: &str) -> Result<LevelFilter, &'static str> {
    text.parse().map_err(|_| "must be off, error, warn, info, debug or trace")
}

/// Why the server does not run, or did not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    Other(String),
    Usage(String),
    Listen(String),
    Store(String),
    Unfinished(ShutdownReport),
}

impl Failure {
    /// Says it, with a code of its own for scripts.
    pub(crate) fn report(self) -> ExitCode {
        let (code, text) = match self {
            Self::Other(text) => (1, text),
            Self::Usage(text) => (2, format!("{text}\nTry --help.")),
            Self::Listen(text) => (3, text),
            Self::Store(text) => (4, text),
            Self::Unfinished(report) => (5, format!("not everything was stored: {report:?}")),
        };
        // Nobody may be reading it; the code says it, too.
        let _ = writeln!(io::stderr(), "tcp_server: {text}");
        ExitCode::from(code)
    }
}
