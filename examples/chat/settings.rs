//! What the command line says.

use std::io::{self, Write};

use lexopt::prelude::*;
use switchboard::signature::Signer;
use switchboard::{DeviceId, PeerId};

const HELP: &str = "\
A chat in the terminal, on Switchboard's example server.

Usage: chat --as NAME [OPTIONS]

  --as NAME          who you are
  --connect ADDR     where the server is                       [127.0.0.1:7100]
  --device ID        which of your devices this is; each keeps track of what it has received
  --app-id ID        the application, as given to the server   [switchboard]
  --master-key KEY   where the server asks for signatures: signs with its key. For demonstrations only:
                     in the field a server of yours signs, and no client has the key
  --help             this text

A line is a message to whom you talk to; lines that begin with / are commands: see /help. Ctrl-C, Ctrl-D, SIGINT and SIGTERM
log out, once the server has confirmed what was written. Without a connection the chat tries again; from a pipe it ends
with the pipe.

Exit codes: 0 the server has answered everything · 1 not so, or no login · 2 wrong arguments
";

/// What the command line says.
pub(crate) struct Settings {
    pub(crate) peer: PeerId,
    pub(crate) device: Option<DeviceId>,
    pub(crate) connect: String,
    pub(crate) signer: Option<Signer>,
}

impl Settings {
    /// Reads the command line; none where only help was wanted.
    pub(crate) fn from_args() -> Result<Option<Self>, lexopt::Error> {
        let settings = Self::parse(lexopt::Parser::from_env())?;
        if settings.is_none() {
            // Nobody may be reading it any more.
            let _ = io::stdout().write_all(HELP.as_bytes());
        }
        Ok(settings)
    }

    fn parse(mut args: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        let (mut peer, mut device, mut master_key) = (None, None, None);
        let mut connect = "127.0.0.1:7100".to_owned();
        let mut app_id = "switchboard".to_owned();
        while let Some(arg) = args.next()? {
            match arg {
                Long("as") => peer = Some(args.value()?.parse_with(PeerId::new)?),
                Long("device") => device = Some(args.value()?.parse_with(DeviceId::new)?),
                Long("connect") => connect = args.value()?.string()?,
                Long("app-id") => app_id = args.value()?.string()?,
                Long("master-key") => master_key = Some(args.value()?.string()?),
                Short('h') | Long("help") => return Ok(None),
                _ => return Err(arg.unexpected()),
            }
        }
        let peer = peer.ok_or("--as NAME is missing: who are you?")?;
        let signer = master_key.map(|key| Signer::new(&app_id, key)).transpose();
        let signer = signer.map_err(|error| format!("--app-id and --master-key do not sign: {error}"))?;
        Ok(Some(Self { peer, device, connect, signer }))
    }
}
