//! What the command line says.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

const HELP: &str = "\
A game server with 200 simulated players in a loop of 60 ticks a second.

Usage: game_loop [OPTIONS]

  --seconds N   how long to play; Ctrl-C ends it earlier     [10]
  --data DIR    where messages are kept                      [a temporary folder, gone at the end]
  --disk MS     pretend that each commit takes the disk so many milliseconds more  [0]
  --help        this text

At the end it says what was played, which ticks were missed, and how long the engine took. Nothing that a player was told
is lost, however it ends.
";

/// What the command line says.
pub(crate) struct Settings {
    pub(crate) seconds: u32,
    pub(crate) data: Option<PathBuf>,
    pub(crate) disk: Duration,
}

impl Settings {
    /// Reads the command line; none where only help was wanted.
    pub(crate) fn from_args() -> Result<Option<Self>, lexopt::Error> {
        let mut settings = Self { seconds: 10, data: None, disk: Duration::ZERO };
        let mut args = lexopt::Parser::from_env();
        while let Some(arg) = args.next()? {
            match arg {
                Long("seconds") => settings.seconds = args.value()?.parse()?,
                Long("data") => settings.data = Some(args.value()?.into()),
                Long("disk") => settings.disk = Duration::from_millis(args.value()?.parse::<u32>()?.into()),
                Short('h') | Long("help") => {
                    // Nobody may be reading it any more.
                    let _ = io::stdout().write_all(HELP.as_bytes());
                    return Ok(None);
                }
                _ => return Err(arg.unexpected()),
            }
        }
        Ok(Some(settings))
    }
}
